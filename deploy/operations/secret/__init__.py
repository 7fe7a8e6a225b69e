"""What is secret, made once and kept: keys, certificates, env files."""
