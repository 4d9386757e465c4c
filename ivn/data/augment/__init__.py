"""Changes of colour and geometry, made where the batch is used."""
