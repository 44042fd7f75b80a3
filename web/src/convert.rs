//! Values and errors between Rust and JavaScript.

use serde::Serialize;
use serde::de::DeserializeOwned;
use wasm_bindgen::JsValue;

/// A plain value as JavaScript has it.
pub(crate) fn to_js(value: &impl Serialize) -> Result<JsValue, JsValue> {
    let text = serde_json::to_string(value).map_err(|cause| input(&cause.to_string()))?;
    js_sys::JSON::parse(&text)
}

/// A plain value of JavaScript's; `undefined` is an empty object.
pub(crate) fn from_js<T: DeserializeOwned>(value: &JsValue) -> Result<T, JsValue> {
    let text = match value.is_undefined() {
        true => "{}".to_owned(),
        false => String::from(js_sys::JSON::stringify(value)?),
    };
    serde_json::from_str(&text).map_err(|cause| input(&cause.to_string()))
}

/// An error of the library: its kind is the exception's name.
pub(crate) fn error(error: impl Into<deputy::Error>) -> JsValue {
    let error = error.into();
    exception(error.kind().name(), &error.to_string())
}

/// A setting that cannot be used.
pub(crate) fn input(message: &str) -> JsValue {
    exception(deputy::ErrorKind::Input.name(), message)
}

fn exception(kind: &str, message: &str) -> JsValue {
    let exception = js_sys::Error::new(message);
    exception.set_name(kind);
    exception.into()
}
