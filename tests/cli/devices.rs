use crate::program::{command, fixture, ids, read_json, run};

#[test]
fn devices_lists_the_cpu_behind_the_adapters() {
    let got = run(&["devices", "--json"]).json();
    let devices = got["devices"].as_array().expect("a list");
    let last = devices.last().expect("there is always one");
    assert_eq!(last["device"], "cpu");
    assert!(last["threads"].as_u64() >= Some(1));
    for (i, adapter) in devices[..devices.len() - 1].iter().enumerate() {
        assert_eq!(adapter["device"], i);
        assert!(
            adapter["max_binding"].as_u64() >= Some(128 << 20),
            "{adapter}"
        );
    }
    let table = run(&["devices"]).ok();
    assert!(
        table.lines().last().expect("lines").starts_with("cpu "),
        "{table}"
    );
}

/// By itself the program takes a GPU, and the CPU itself in place of what only plays one on it.
#[test]
fn a_software_adapter_is_taken_only_where_it_is_named() {
    let listed = run(&["devices", "--json"]).json();
    let devices = listed["devices"].as_array().expect("a list");
    let (_, adapters) = devices.split_last().expect("the CPU is always there");
    let has_gpu = adapters.iter().any(|device| device["kind"] != "software");
    let got = run(&["generate", &fixture("qwen3"), "-p", "x", "-n", "1"]);
    let on_cpu = got.stderr.contains("running on the CPU");
    assert_eq!(on_cpu, !has_gpu, "{}", got.stderr);
    if !has_gpu && !adapters.is_empty() {
        assert!(got.stderr.contains("--device 0 takes it"), "{}", got.stderr);
    }
}

/// Whatever adapter there is: the CPU's ids, and every kernel right.
#[test]
fn the_adapter_agrees_with_the_cpu() {
    let adapters = run(&["devices", "--json"]).json()["devices"]
        .as_array()
        .expect("a list")
        .len()
        - 1;
    let required = std::env::var("DEPUTY_GPU").is_ok_and(|value| value == "required");
    assert!(
        adapters > 0 || !required,
        "DEPUTY_GPU=required, and there is no adapter"
    );
    if adapters == 0 {
        eprintln!("skipped: there is no adapter");
        return;
    }
    let model = fixture("qwen3");
    let case = &read_json(&crate::program::fixture_path("qwen3").join("golden.json"))["cases"][0];
    let prompt = case["prompt"].as_str().expect("a text");
    let args = [
        "generate", &model, "-p", prompt, "-n", "32", "--temp", "0", "--kv", "f32", "--json",
    ];
    for more in [&[][..], &["--cpu-kernel", "attention"]] {
        let got = run(&[&args[..], &["--device", "0"], more].concat());
        assert!(!got.stderr.contains("running on the CPU"), "{}", got.stderr);
        assert_eq!(
            ids(&got.json()["ids"]),
            ids(&case["greedy_ids"]),
            "{more:?}"
        );
    }

    let test = run(&["devices", "--test", "--json"]).json();
    assert_eq!(test["failed"], 0, "{test}");
    let checks = test["checks"].as_array().expect("a list");
    assert!(checks.len() > 30, "{test}");
    for check in checks {
        assert!(check["nmse"].as_f64() <= check["limit"].as_f64(), "{check}");
    }
    assert!(run(&["devices", "--test"]).ok().contains("rms_norm"));

    let mut args = vec![
        "bench", &model, "-p", "8", "-n", "4", "-r", "1", "--device", "0", "--json",
    ];
    let bench = run(&args).json();
    assert!(bench["copy_gb_s"].as_f64() > Some(0.1), "{bench}");
    assert!(bench["driver"].is_string(), "{bench}");
    args.push("--profile");
    // Kernels are told apart by their shaders.
    let bench = run(&args).json().to_string();
    assert!(bench.contains("\"kernel\":\"matvec_"), "{bench}");

    for device in ["99", "a name that none has"] {
        let got = run(&["generate", &model, "-p", "x", "--device", device]);
        let error = got.error(2);
        assert!(
            error.contains(device) && error.contains("there are: 0 "),
            "{error}"
        );
    }
}

#[test]
fn the_self_test_needs_an_adapter() {
    let got = run(&["devices", "--test", "--device", "cpu"]);
    assert!(got.error(2).contains("adapter"), "{}", got.stderr);
}

/// The Vulkan loader can be told that there is no driver.
#[cfg(target_os = "linux")]
#[test]
fn without_an_adapter_the_model_runs_on_the_cpu_and_says_so() {
    let without = |args: &[&str]| {
        let mut command = command(args);
        command
            .env("VK_DRIVER_FILES", "/dev/null")
            .env("VK_ICD_FILENAMES", "/dev/null");
        crate::program::Run::from(command.output().expect("the program starts"))
    };
    let args = [
        "generate",
        &fixture("qwen3"),
        "-p",
        "the boy",
        "-n",
        "4",
        "--temp",
        "0",
    ];
    let got = without(&args);
    let lines: Vec<&str> = got
        .stderr
        .lines()
        .filter(|line| line.contains("running on the CPU"))
        .collect();
    assert_eq!(lines.len(), 1, "{}", got.stderr);
    assert_eq!(
        got.ok(),
        run(&[&args[..], &["--device", "cpu"]].concat()).ok()
    );

    let got = without(&["generate", &fixture("qwen3"), "-p", "x", "--device", "0"]);
    assert!(got.error(1).contains("--device cpu"), "{}", got.stderr);
    let got = without(&["devices", "--test"]);
    got.error(1);
    let devices = without(&["devices", "--json"]).json();
    assert_eq!(devices["devices"].as_array().map(Vec::len), Some(1));
}
