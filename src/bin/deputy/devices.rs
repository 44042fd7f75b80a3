//! `deputy devices`: what there is to run on, and whether it computes right.

use deputy::gpu::{self, Adapter};
use deputy::{Check, DeviceChoice};
use serde_json::{Value, json};

use crate::args::Global;
use crate::failure::Failure;
use crate::output;

/// Lists the devices that --device takes.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  deputy devices
  deputy devices --test --device 0")]
pub(crate) struct Args {
    /// Run each kernel on small shapes against its CPU twin, on the device that --device names
    #[arg(long)]
    test: bool,
}

pub(crate) async fn run(args: &Args, global: &Global) -> Result<(), Failure> {
    if args.test {
        return test(global).await;
    }
    let adapters = gpu::adapters().await;
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    if global.json {
        let mut devices: Vec<Value> = adapters.iter().map(as_json).collect();
        devices.push(json!({"device": "cpu", "name": "CPU", "threads": n_threads}));
        return output::print_json(&json!({ "devices": devices }));
    }
    let heading = [
        "--device",
        "name",
        "backend",
        "kind",
        "f16",
        "subgroups",
        "max binding",
        "driver",
    ];
    let mut lines = vec![heading.map(str::to_owned).to_vec()];
    for adapter in &adapters {
        let subgroups =
            adapter
                .subgroups
                .map_or("no".to_owned(), |(least, most)| match least == most {
                    true => most.to_string(),
                    false => format!("{least}..{most}"),
                });
        lines.push(vec![
            adapter.index.to_string(),
            adapter.name.clone(),
            adapter.backend.clone(),
            adapter.kind.clone(),
            if adapter.shader_f16 { "yes" } else { "no" }.to_owned(),
            subgroups,
            output::bytes(adapter.max_binding),
            adapter.driver.clone(),
        ]);
    }
    let threads = format!("{n_threads} threads");
    lines.push(
        ["cpu", "CPU", "", "executor", "", "", "", &threads]
            .map(str::to_owned)
            .to_vec(),
    );
    output::print(&output::table(&lines))?;
    if adapters.is_empty() {
        output::remark("no GPU adapter was found; for one, install a Vulkan, Metal or DX12 driver");
    }
    Ok(())
}

fn as_json(adapter: &Adapter) -> Value {
    json!({
        "device": adapter.index,
        "name": adapter.name,
        "backend": adapter.backend,
        "kind": adapter.kind,
        "driver": adapter.driver,
        "max_binding": adapter.max_binding,
        "shader_f16": adapter.shader_f16,
        "subgroups": adapter.subgroups.map(|(least, most)| [least, most]),
        "timestamps": adapter.timestamps,
    })
}

async fn test(global: &Global) -> Result<(), Failure> {
    if global.device == DeviceChoice::Cpu {
        return Err(Failure::Option {
            option: "--device",
            expected: "an adapter to compare with the CPU".to_owned(),
            found: "cpu".to_owned(),
        });
    }
    let test = deputy::self_test(&global.device, global.checked).await?;
    let failed = test.checks.iter().filter(|check| !check.ok()).count();
    if global.json {
        let check = |check: &Check| json!({"kernel": check.label, "nmse": check.nmse, "limit": check.limit, "ok": check.ok()});
        let checks: Vec<Value> = test.checks.iter().map(check).collect();
        output::print_json(&json!({"device": test.device, "failed": failed, "checks": checks}))?;
    } else {
        let mut lines = vec![["kernel", "error", "limit", ""].map(str::to_owned).to_vec()];
        for check in &test.checks {
            let verdict = match &check.failure {
                Some(failure) => failure.clone(),
                None if check.ok() => "ok".to_owned(),
                None => "WRONG".to_owned(),
            };
            lines.push(vec![
                check.label.clone(),
                format!("{:.1e}", check.nmse),
                format!("{:.0e}", check.limit),
                verdict,
            ]);
        }
        output::print(&format!("{}\n\n{}", test.device, output::table(&lines)))?;
    }
    match failed {
        0 => Ok(()),
        n => Err(Failure::SelfTest {
            n,
            of: test.checks.len(),
            device: test.device,
        }),
    }
}
