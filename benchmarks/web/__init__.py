"""Networks in a browser: our WebAssembly and that of other runtimes, in turns in one headless Chromium."""
