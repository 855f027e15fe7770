"""Charts and the page. Reads the table alone. No torch."""
