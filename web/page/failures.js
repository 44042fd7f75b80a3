// What a failure means to a visitor, and what to do next: `{ title, advice }`.

const BROWSERS =
  "WebGPU is in Chrome and Edge from 113 on (Windows, macOS, ChromeOS; 121 on Android 12), in Safari from 26 on, and in Firefox from 141 on for Windows, from 145 on for Macs with Apple's chips.";
const LINUX = "On Linux, start Chrome with --enable-unsafe-webgpu --enable-features=Vulkan, or switch on chrome://flags/#enable-unsafe-webgpu.";

export function explain(error, info) {
  switch (error.name) {
    case "WebGPUNotAvailable":
      return {
        title: {
          api: "This browser has no WebGPU",
          adapter: "WebGPU found no graphics adapter",
          device: "The graphics adapter could not be opened",
        }[error.details?.reason] ?? "WebGPU is not available",
        advice: isSecureContext
          ? [BROWSERS, LINUX, "Hardware acceleration has to be on in the browser's settings, and the graphics driver up to date."]
          : ["WebGPU needs a secure page: open it over https, or on localhost."],
      };
    case "AdapterLimits":
      return { title: "Too large for the browser's buffers", advice: [error.message, "Choose a shorter context or a smaller cache (q8, q4) in the settings."] };
    case "OutOfMemory":
      return { title: "The GPU's memory is too small", advice: [error.message, "Choose weights q4, a shorter context, or a smaller model; close other pages that use the GPU."] };
    case "DeviceLost":
      return { title: "The GPU was lost", advice: [error.message, "Load the model again; what was downloaded is kept."] };
    case "ContextFull":
      return { title: "The conversation is longer than the context", advice: [`The model remembers ${info?.contextLength ?? "so many"} tokens. Start a new chat, or load it with a longer context.`] };
    case "DownloadFailed":
      return { title: "The download failed", advice: [error.message, downloadAdvice(error)] };
    case "IntegrityError":
      return { title: "A file is damaged", advice: [error.message, "Nothing of it was kept. Try again, or take the model from elsewhere."] };
    case "UnsupportedModel":
      return { title: "This model cannot be run", advice: [error.message] };
    case "InvalidRequest":
      return { title: "That does not work", advice: [error.message] };
    default:
      return { title: "Something went wrong", advice: [error.message, "Reload the page; what was downloaded is kept."] };
  }
}

function downloadAdvice({ details }) {
  if (details?.status === 401 || details?.status === 403) {
    return "The server wants a login. Download the model's folder, and open it with “Folder”.";
  }
  if (details?.status) return "Check the address, and try again later; the download goes on where it was.";
  return "Check the connection. The server must also allow other pages to read its files (CORS). The download goes on where it was.";
}
