"""Float networks: opened in every form, made by name, converted, counted."""
