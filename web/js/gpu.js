// The browser's adapter, and what the engine's own request for a device leaves out.

import { WebGPUNotAvailable } from "./errors.js";

/** Names of adapters that compute on the processor. */
const SOFTWARE = /swiftshader|llvmpipe|lavapipe|basic render|warp/i;

/** Looks at the adapter and watches the devices that the engine opens: `{ adapter, device() }`. */
export async function watch({ subgroups, onLost }) {
  const { gpu } = navigator;
  if (!gpu) {
    throw new WebGPUNotAvailable("this browser has no WebGPU", { reason: "api" });
  }
  const request = gpu.requestAdapter.bind(gpu);
  const adapter = await request({ powerPreference: "high-performance" });
  if (!adapter) {
    throw new WebGPUNotAvailable("the browser has WebGPU, but no adapter for it", { reason: "adapter" });
  }
  const { vendor, architecture, description, subgroupMinSize, isFallbackAdapter } = adapter.info;
  const uses = subgroups && adapter.features.has("subgroups");
  const name = [vendor, architecture, description].filter(Boolean).join(" ") || "unknown adapter";
  const software = Boolean(isFallbackAdapter ?? adapter.isFallbackAdapter) || SOFTWARE.test(name);
  let device;
  // wgpu asks for the default adapter and cannot ask for subgroups; both are settled here.
  gpu.requestAdapter = async (options) => {
    const adapter = await request({ powerPreference: "high-performance", ...options });
    if (!adapter) return adapter;
    adapter.requestDevice = async (descriptor = {}) => {
      const requiredFeatures = [...(descriptor.requiredFeatures ?? []), ...(uses ? ["subgroups"] : [])];
      device = await GPUAdapter.prototype.requestDevice.call(adapter, { ...descriptor, requiredFeatures });
      device.lost.then(({ reason, message }) => onLost(message || reason));
      return device;
    };
    return adapter;
  };
  return {
    adapter: { name, software, subgroups: uses ? (subgroupMinSize ?? 4) : 0, f16: adapter.features.has("shader-f16") },
    device: () => device,
  };
}
