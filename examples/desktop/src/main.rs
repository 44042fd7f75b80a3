//! A chat window over the deputy engine.

mod app;
mod chat;
mod engine;
mod frames;
mod problem;
mod settings;
mod speed;
mod store;
#[cfg(test)]
mod tests;
mod text;
mod ui;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use eframe::egui::{Context, ViewportBuilder, ViewportCommand, vec2};
use eframe::egui_wgpu::WgpuSetup;
use eframe::{CreationContext, NativeOptions, egui, wgpu};

use app::App;
use frames::FrameTimes;
use settings::ModelRef;
use store::Store;

/// A window to talk with a language model in.
#[derive(Parser)]
#[command(name = "deputy-desktop", version)]
struct Args {
    /// A Hugging Face folder or a .gguf file [default: the last one, or the model that is compiled in]
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Where chats and settings are kept [default: the platform's data folder]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Draw without pause, and write how long each frame took to this file
    #[arg(long, value_name = "FILE")]
    frame_times: Option<PathBuf>,
}

/// Pieces of an answer are drawn at most so often; software adapters draw with the processor that
/// the engine needs.
const REDRAW: Duration = Duration::from_millis(25);

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            let title = "deputy cannot open its window";
            let dialog = rfd::MessageDialog::new().set_title(title);
            let _ = dialog
                .set_level(rfd::MessageLevel::Error)
                .set_description(&message)
                .show();
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), String> {
    let store = Store::open(args.data).map_err(|error| error.to_string())?;
    let frames = args.frame_times.as_deref().map(|path| {
        FrameTimes::create(path).map_err(|cause| format!("{}: {cause}", path.display()))
    });
    let frames = frames.transpose()?;
    let model = args.model.map(ModelRef::Path);
    let create = |cc: &CreationContext<'_>| -> Result<Box<dyn eframe::App>, _> {
        ui::theme::install(&cc.egui_ctx);
        let app = App::new(store, model, wake(&cc.egui_ctx));
        Ok(Box::new(Window { app, frames }))
    };
    let options = native_options();
    eframe::run_native("deputy", options, Box::new(create)).map_err(|error| error.to_string())
}

/// The window has a wgpu device of its own, though the engine's wgpu is the same version and could
/// share one: a device that the engine loses or fills up leaves the window standing, the two never
/// wait for each other's queue, and the window takes the frugal adapter where the engine takes the
/// fast one.
fn native_options() -> NativeOptions {
    let mut options = NativeOptions {
        viewport: ViewportBuilder::default()
            .with_title("deputy")
            .with_app_id("deputy")
            .with_inner_size(vec2(1240.0, 800.0))
            .with_min_inner_size(vec2(680.0, 480.0)),
        ..NativeOptions::default()
    };
    if let WgpuSetup::CreateNew(setup) = &mut options.wgpu_options.wgpu_setup {
        setup.power_preference = wgpu::PowerPreference::LowPower;
    }
    options
}

/// Has the window draw what has come, soon.
fn wake(ctx: &Context) -> engine::Wake {
    let ctx = ctx.clone();
    Arc::new(move || ctx.request_repaint_after(REDRAW))
}

struct Window {
    app: App,
    frames: Option<FrameTimes>,
}

impl eframe::App for Window {
    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        if let Some(frames) = &mut self.frames {
            frames.frame(self.app.engine_state(), frame.info().cpu_usage);
            ui.ctx().request_repaint();
        }
        self.app.show(ui);
        let title = self.app.title();
        if ui.input(|input| input.viewport().title.as_deref() != Some(&title)) {
            ui.ctx().send_viewport_cmd(ViewportCommand::Title(title));
        }
    }

    fn on_exit(&mut self) {
        self.app.close();
    }
}
