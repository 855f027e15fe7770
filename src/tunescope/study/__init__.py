"""What a study says: frozen settings, YAML in and out, identity. No torch."""
