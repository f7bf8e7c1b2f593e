"""What a browser gets: the JavaScript around a network compiled to WebAssembly, and the page that measures a device."""
