//! The system's window around [`App`], and its graphics device.
//!
//! The window has a wgpu device of its own, though the engine's wgpu is the same version and could
//! share one: a device that the engine loses or fills up leaves the window standing, the two never
//! wait for each other's queue, and the window takes the frugal adapter where the engine takes the
//! fast one.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eframe::egui::{Context, ViewportBuilder, ViewportCommand, vec2};
use eframe::egui_wgpu::{RenderState, WgpuSetup};
use eframe::{CreationContext, NativeOptions, egui, wgpu};

use crate::app::App;
use crate::frames::FrameTimes;
use crate::settings::ModelRef;
use crate::store::Store;
use crate::ui::theme;

/// Pieces of an answer are drawn at most so often; software adapters draw with the processor that
/// the engine needs.
const REDRAW: Duration = Duration::from_millis(25);

const TITLE: &str = "deputy";

/// Windows that are opened one after another because the device of the last one was lost.
const MOST_WINDOWS: usize = 4;

/// Shows the window until it is closed.
pub(crate) fn run(
    store: Store,
    model: Option<ModelRef>,
    frames: Option<FrameTimes>,
) -> Result<(), String> {
    let awake = Awake::default();
    let wake = awake.clone();
    let app = App::new(store, model, Arc::new(move || wake.soon()));
    let app = Rc::new(RefCell::new(app));
    let frames = Rc::new(RefCell::new(frames));
    for n in 1.. {
        let is_lost = Arc::new(AtomicBool::new(false));
        let create = |cc: &CreationContext<'_>| -> Result<Box<dyn eframe::App>, _> {
            theme::install(&cc.egui_ctx);
            awake.set(&cc.egui_ctx);
            if let Some(state) = &cc.wgpu_render_state {
                watch(state, &cc.egui_ctx, &is_lost);
            }
            Ok(Box::new(Window {
                app: app.clone(),
                frames: frames.clone(),
                title: TITLE.to_owned(),
            }))
        };
        // egui panics where its device is gone.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            eframe::run_native("deputy", options(), Box::new(create))
        }));
        if is_lost.load(Ordering::Relaxed) && n < MOST_WINDOWS {
            app.borrow_mut().window_was_lost();
            continue;
        }
        app.borrow_mut().close();
        return match ended {
            Ok(ended) => ended.map_err(|error| error.to_string()),
            Err(panic) => resume_unwind(panic),
        };
    }
    unreachable!("the last window returns")
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

/// Closes the window when its device is lost, as a driver's reset does to all devices.
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

/// Has the window that is there now draw what has come, soon.
#[derive(Clone, Default)]
struct Awake(Arc<Mutex<Option<Context>>>);

impl Awake {
    fn set(&self, ctx: &Context) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ctx.clone());
    }

    fn soon(&self) {
        if let Some(ctx) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            ctx.request_repaint_after(REDRAW);
        }
    }
}

struct Window {
    app: Rc<RefCell<App>>,
    frames: Rc<RefCell<Option<FrameTimes>>>,
    /// As the window bears it.
    title: String,
}

impl eframe::App for Window {
    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        let mut app = self.app.borrow_mut();
        if let Some(frames) = &mut *self.frames.borrow_mut() {
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
