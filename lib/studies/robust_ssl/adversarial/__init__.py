"""Self-adversarial training: what pages 18 and 19 share. The pages import it through `lib.studies.robust_ssl`."""
