"""The named sets, one loader each."""
