"""Make the conformance pack: `python -m regrow_exporter.conformance DIR`, or `regrow conformance export`."""
