// Runs a program that was compiled for wasm32-wasi, with the standard streams of this process: node wasi.mjs PROGRAM
import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { WASI } from "node:wasi";

const UNSUPPORTED = 4; // as kernel_replay.c says it
setFlagsFromString("--experimental-wasm-relaxed-simd"); // Node 20 has it; later ones need not be asked
const wasi = new WASI({ version: "preview1", args: process.argv.slice(2), env: {}, returnOnExit: true });
const program = readFileSync(process.argv[2]);
process.exitCode = WebAssembly.validate(program)
  ? wasi.start(new WebAssembly.Instance(new WebAssembly.Module(program), wasi.getImportObject()))
  : UNSUPPORTED;
