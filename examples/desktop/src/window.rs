//! The system's window around [`App`], and its graphics device.
//!
//! The window has a wgpu device of its own, though the engine's wgpu is the same version and could
//! share one: a device that the engine loses or fills up leaves the window standing, the two never
//! wait for each other's queue, and the window takes the frugal adapter where the engine takes the
//! fast one.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eframe::egui::{Context, ViewportBuilder, ViewportCommand, vec2};
use eframe::egui_wgpu::{RenderState, WgpuSetup};
use eframe::{CreationContext, NativeOptions, egui, wgpu};

use crate::app::{App, Unfinished};
use crate::engine::Wake;
use crate::frames::FrameTimes;
use crate::settings::ModelRef;
use crate::store::Store;
use crate::ui::theme;

/// Pieces of an answer are drawn at most so often; software adapters draw with the processor that
/// the engine needs.
const REDRAW: Duration = Duration::from_millis(25);

const TITLE: &str = "deputy";

/// A window that fails sooner would fail again.
const SHORT: Duration = Duration::from_secs(5);

/// What a window begins with.
pub(crate) struct Start {
    pub(crate) store: Store,
    pub(crate) model: Option<ModelRef>,
    pub(crate) frames: Option<FrameTimes>,
    /// What a window that failed has left.
    pub(crate) unfinished: Option<Unfinished>,
}

/// Shows the window until it is closed. Gives back what another one should go on with where this
/// one failed, as it does where a driver's reset takes its device away: neither egui nor the event
/// loop can go on after that in the same process.
pub(crate) fn run(start: Start) -> Result<Option<Unfinished>, String> {
    let opened = Instant::now();
    let is_lost = Arc::new(AtomicBool::new(false));
    let slot: Rc<RefCell<Option<App>>> = Rc::default();
    let create = |cc: &CreationContext<'_>| -> Result<Box<dyn eframe::App>, _> {
        theme::install(&cc.egui_ctx);
        if let Some(state) = &cc.wgpu_render_state {
            watch(state, &cc.egui_ctx, &is_lost);
        }
        let mut app = App::new(start.store, start.model, wake(&cc.egui_ctx));
        if let Some(unfinished) = start.unfinished {
            app.go_on(unfinished);
        }
        *slot.borrow_mut() = Some(app);
        Ok(Box::new(Window {
            app: slot.clone(),
            frames: start.frames,
            title: TITLE.to_owned(),
        }))
    };
    // egui panics where its device is gone, often before the driver says that it is lost.
    let ended = catch_unwind(AssertUnwindSafe(|| {
        eframe::run_native(TITLE, options(), Box::new(create))
    }));
    let unfinished = slot.borrow_mut().as_mut().map(App::close);
    let has_failed = ended.is_err() || is_lost.load(Ordering::Relaxed);
    if has_failed && opened.elapsed() > SHORT {
        return Ok(unfinished);
    }
    match ended {
        Ok(Ok(())) => Ok(None),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => resume_unwind(panic),
    }
}

fn options() -> NativeOptions {
    let mut options = NativeOptions {
        viewport: ViewportBuilder::default()
            .with_title(TITLE)
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

/// Closes the window when its device is lost.
fn watch(state: &RenderState, ctx: &Context, is_lost: &Arc<AtomicBool>) {
    let (ctx, is_lost) = (ctx.clone(), is_lost.clone());
    state.device.set_device_lost_callback(move |reason, _| {
        // The end of a window destroys its device too.
        if reason != wgpu::DeviceLostReason::Destroyed {
            is_lost.store(true, Ordering::Relaxed);
            ctx.send_viewport_cmd(ViewportCommand::Close);
        }
    });
    // By default these panic.
    let report = |error: wgpu::Error| eprintln!("window: {error}");
    state.device.on_uncaptured_error(Arc::new(report));
}

/// Has the window draw what has come, soon.
fn wake(ctx: &Context) -> Wake {
    let ctx = ctx.clone();
    Arc::new(move || ctx.request_repaint_after(REDRAW))
}

struct Window {
    /// Outside of what a panic takes along.
    app: Rc<RefCell<Option<App>>>,
    frames: Option<FrameTimes>,
    /// As the window bears it.
    title: String,
}

impl eframe::App for Window {
    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        let mut app = self.app.borrow_mut();
        let Some(app) = app.as_mut() else {
            return;
        };
        if let Some(frames) = &mut self.frames {
            frames.frame(app.engine_state(), frame.info().cpu_usage);
            ui.ctx().request_repaint();
        }
        app.show(ui);
        let title = app.title();
        if self.title != title {
            self.title.clone_from(&title);
            ui.ctx().send_viewport_cmd(ViewportCommand::Title(title));
        }
    }
}
