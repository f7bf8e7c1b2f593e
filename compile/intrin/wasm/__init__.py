"""The instruction sets of WebAssembly: what every engine has, and what some do better."""
