//! Why a request did not reach the node.

pub(super) fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// The variable that names a proxy for this URL, where one is set.
pub(super) fn proxy_variable(url: &str) -> Option<&'static str> {
    let of_scheme = match url.starts_with("https:") {
        true => ["https_proxy", "HTTPS_PROXY"],
        false => ["http_proxy", "HTTP_PROXY"],
    };
    let names = of_scheme.into_iter().chain(["all_proxy", "ALL_PROXY"]);
    names.into_iter().find(|name| is_set(name))
}

/// The innermost cause: the outer ones repeat it and contain the URL.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::eq(cause, std::ptr::from_ref(error) as *const dyn std::error::Error) {
        return "the request could not be made".to_owned();
    }
    cause.to_string()
}
