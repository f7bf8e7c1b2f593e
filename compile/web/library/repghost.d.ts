/** The most pixels of an image. */
export const MOST_PIXELS: number;

/** What is thrown for downloads, files and images that cannot be used; an abort throws the signal's reason. */
export class RepghostError extends Error {
  readonly code: 'download' | 'integrity' | 'unsupported' | 'image' | 'memory' | 'closed';
}

/** RGB or RGBA pixels; what is transparent is laid over white. Of a network of 2 or 4 channels, as many bytes a pixel. */
export interface Pixels {
  readonly data: Uint8Array | Uint8ClampedArray;
  readonly width: number;
  readonly height: number;
}

/**
 * Anything with pixels. The bytes of a JPEG or PNG file give the same scores as on a board; images, canvases and videos
 * are drawn first, with what the browser decoded, and over white where they are transparent.
 */
export type Image =
  | Blob | ArrayBuffer | Uint8Array | Pixels | ImageData | ImageBitmap | HTMLImageElement | HTMLCanvasElement
  | OffscreenCanvas | HTMLVideoElement | VideoFrame;

/** One class of an image. */
export interface Ranked {
  readonly index: number;
  readonly label: string;
  readonly logit: number;
  readonly probability: number;
}

/** What a detector found: a class from 0, a probability, and left, top, right and bottom in pixels of the image. */
export interface Found {
  readonly class: number;
  readonly label: string;
  readonly score: number;
  readonly box: readonly [number, number, number, number];
}

/** The size of one of several results. */
export interface Output {
  readonly name: string;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

/** One of several results, [height][width][channels]. */
export interface Result extends Omit<Output, 'name'> {
  readonly data: Float32Array;
}

export interface Prediction extends Ranked {
  readonly logits: Float32Array;
}

export interface Progress {
  readonly done: number;
  readonly total: number;
}

export interface Replayed {
  readonly pictures: number;
  /** Pictures whose scores differ by more than the tolerance; 0 where all is well. */
  readonly mismatches: number;
  readonly largest: number;
  /** 0: equal to the bit. */
  readonly tolerance: number;
}

/** Milliseconds of one inference. Where the clock is coarse, a measurement is the mean of `batch` in a row. */
export interface Measured {
  readonly min_ms: number;
  readonly median_ms: number;
  readonly p90_ms: number;
  readonly p95_ms: number;
  readonly p99_ms: number;
  readonly max_ms: number;
  readonly runs: number;
  readonly warmup: number;
  readonly batch: number;
  /** The smallest step of the clock. */
  readonly clock_ms: number;
  readonly threads: number;
  readonly variant: string;
  readonly precision: string;
}

interface Stoppable {
  signal?: AbortSignal;
}

export interface Model {
  readonly manifest: Readonly<Record<string, unknown>>;
  readonly info: Readonly<Record<string, unknown>>;
  readonly input: Readonly<{ height: number; width: number; channels: number }>;
  /** How many scores there are; of several results the numbers of all. */
  readonly classes: number;
  /** Of a network with several results, a detector among them; empty of one with scores of classes. */
  readonly outputs: readonly Output[];
  readonly labels: readonly string[];
  readonly precision: string;
  readonly variant: string;
  /** 1 where memory cannot be shared, whatever was asked for. */
  readonly threads: number;
  readonly timings: Readonly<{ download_ms: number; compile_ms: number }>;
  /** What a detector finds, the most probable first: the boxes that boards find, to the bit. */
  detect(image: Image, options?: Stoppable): Promise<Found[]>;
  /** Each of several results by name. */
  results(image: Image, options?: Stoppable): Promise<Record<string, Result>>;
  /** The best class. */
  predict(image: Image, options?: Stoppable): Promise<Prediction>;
  /** The best n classes, the best first. */
  top(image: Image, n?: number, options?: Stoppable): Promise<Ranked[]>;
  /** What the network takes, [height][width][channels]: resized and cropped as in training. */
  prepare(image: Image, options?: Stoppable): Promise<Uint8Array>;
  /** The scores of what `prepare` gave; of several results the numbers of all, one behind the other. */
  logits(rgb: Uint8Array | Uint8ClampedArray): Float32Array;
  /** Runs the recorded images of the bundle and compares the scores. */
  verify(options?: Stoppable & { onProgress?: (progress: Progress) => void }): Promise<Replayed>;
  /** Measures the inference on this machine. */
  bench(options?: Stoppable & { runs?: number; warmup?: number; onProgress?: (progress: Progress) => void }): Promise<Measured>;
  /** Lets go of the memory. */
  close(): void;
}

/** Whether this browser runs the networks: WebAssembly with SIMD. */
export function isSupported(): boolean;

/**
 * Loads a bundle that was compiled with TARGET=web. Sizes and digests are checked before anything is run.
 * @param options.threads 1 by default; more need a page that is isolated (COOP and COEP), and are 1 elsewhere.
 * @param options.variant one of manifest.variants; by default the fastest that this engine runs.
 * @param place its folder: a URL, or a path under Node; by default the folder this library lies in.
 */
export function load(
  place?: string | URL,
  options?: Stoppable & {
    threads?: number;
    variant?: string;
    onProgress?: (progress: { readonly loaded: number; readonly total: number }) => void;
  },
): Promise<Model>;
