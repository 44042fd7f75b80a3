// What can go wrong, by name. An aborted call throws its signal's reason instead, by default an AbortError.

/** Why the engine could not do what it was asked; `details` says it in fields. */
export class DeputyError extends Error {
  constructor(message, details = {}) {
    super(message);
    this.details = details;
  }
}

const named = (name) => {
  const type = class extends DeputyError {};
  // Not the class's own: that would not survive a minifier.
  Object.defineProperty(type.prototype, "name", { value: name });
  return type;
};

/** The browser has no WebGPU, or no adapter for it: `details.reason` is "api", "adapter" or "device". */
export const WebGPUNotAvailable = named("WebGPUNotAvailable");
/** A buffer would be larger than a device can bind. */
export const AdapterLimits = named("AdapterLimits");
/** The device has no room for the model. */
export const OutOfMemory = named("OutOfMemory");
/** The device is gone, and could not be opened again. */
export const DeviceLost = named("DeviceLost");
/** The conversation is longer than the context. */
export const ContextFull = named("ContextFull");
/** A file could not be fetched or read: `details` has `url` and `status`. */
export const DownloadFailed = named("DownloadFailed");
/** A file is not what it should be; nothing of it is kept. */
export const IntegrityError = named("IntegrityError");
/** No model, or one that the engine does not run. */
export const UnsupportedModel = named("UnsupportedModel");
/** A setting or a message that cannot be used. */
export const InvalidRequest = named("InvalidRequest");
/** The engine or the driver is at fault. */
export const EngineFailure = named("EngineFailure");

const TYPES = {
  WebGPUNotAvailable,
  AdapterLimits,
  OutOfMemory,
  DeviceLost,
  ContextFull,
  DownloadFailed,
  IntegrityError,
  UnsupportedModel,
  InvalidRequest,
  EngineFailure,
};

/** By the library's kinds of errors. */
const KINDS = {
  no_device: WebGPUNotAvailable,
  limits: AdapterLimits,
  out_of_memory: OutOfMemory,
  device_lost: DeviceLost,
  context_full: ContextFull,
  damaged: IntegrityError,
  io: DownloadFailed,
  unsupported: UnsupportedModel,
  input: InvalidRequest,
  internal: EngineFailure,
};

/** An exception as a message between threads can carry it. */
export function pack(error) {
  const { name, message, details } = error;
  const kind = KINDS[name];
  if (kind) {
    return { name: kind.prototype.name, message, details: name === "no_device" ? { reason: "device" } : {} };
  }
  // Of an exception that nobody foresaw the place is all there is to go by.
  return { name, message, details: details ?? { stack: error.stack } };
}

/** The exception that was packed. */
export function unpack({ name, message, details }) {
  if (name in TYPES) {
    return new TYPES[name](message, details);
  }
  return name === "AbortError" ? new DOMException(message, name) : new EngineFailure(`${name}: ${message}`, details);
}
