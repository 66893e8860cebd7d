"""The conformance pack: bundles, episodes and what they must lead to, for any runtime to check itself.

docs/conformance.md is the normative description.
"""
