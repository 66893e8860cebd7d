"""Plans: how many bytes a program keeps alive, and where each of its values lies in one arena."""

from regrow.plan.peak import peak_bytes, value_bytes

__all__ = ["peak_bytes", "value_bytes"]
