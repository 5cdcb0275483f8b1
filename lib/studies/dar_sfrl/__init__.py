"""DAR-SFRL: faces restored by an unrolled network, with a contrast of faces and of noise (pages 09, 10 and 11)."""
