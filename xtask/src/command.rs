//! Programs that are run, and templates of their command lines.

use std::process::{Command, Stdio};

/// Puts values in the place of `{names}`, and splits the line at its spaces.
pub(crate) fn fill(template: &str, values: &[(&str, &str)]) -> Vec<String> {
    let fill = |word: &str| {
        values.iter().fold(word.to_owned(), |word, (name, value)| {
            word.replace(&format!("{{{name}}}"), value)
        })
    };
    template.split_whitespace().map(fill).collect()
}

/// Runs a program to its end; returns its standard output. Its errors are seen as they come.
pub(crate) fn output(line: &[String]) -> Result<String, String> {
    let (program, args) = line.split_first().ok_or("an empty command")?;
    let command = line.join(" ");
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|cause| format!("{command}: {cause}"))?;
    if !output.status.success() {
        return Err(format!("{command}: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{command}: its output is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_spaces_and_stand_twice() {
        let words = fill(
            "run {file} -p {p} {file}.log",
            &[("file", "a b"), ("p", "8")],
        );
        assert_eq!(words, ["run", "a b", "-p", "8", "a b.log"]);
    }

    #[test]
    fn a_program_that_is_absent_or_fails_is_named() {
        let error = output(&["no-such-program".to_owned(), "x".to_owned()]).expect_err("is absent");
        assert!(error.starts_with("no-such-program x: "), "{error}");
        assert!(output(&[]).is_err());
    }
}
