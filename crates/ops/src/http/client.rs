use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, ClientBuilder, Method, Response, Url, redirect};

use super::address::PolicyResolver;
use super::{AddressPolicy, HttpError};
use crate::text::one_line;
use crate::tls::{self, TlsFault};

/// The server and the limits of requests.
#[derive(Clone)]
pub struct HttpSettings {
    /// `https://…` or `http://…`.
    pub url: String,
    /// Timeout of a request, including connection and answer.
    pub timeout: Duration,
    /// The addresses that may be called.
    pub reach: AddressPolicy,
    /// Certificate authority of the server, PEM; `None` uses the system's authorities.
    pub ca: Option<Vec<u8>>,
}

// The URL may hold a key.
impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// The answer of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// HTTP status.
    pub status: u16,
    /// The value of `Retry-After`, if the answer has one.
    pub retry_after: Option<Duration>,
    /// The beginning of the answer's text, on one line, without secrets of the URL; empty after success.
    pub text: String,
}

/// Sends requests to one URL. Clones share its connections.
#[derive(Clone)]
pub struct HttpClient {
    client: Client,
    url: Url,
    host: String,
    timeout: Duration,
    /// Whether an authority is configured, which replaces those of the system.
    has_own_ca: bool,
}

/// Maximum length of the shown text: enough for a person, and bounded whatever the server sends.
const ANSWER_BYTES: usize = 2_048;
const ANSWER_CHARS: usize = 200;
const REASON_CHARS: usize = 400;
/// Minimum length of a URL part that is hidden. Shorter parts are words, not keys; hiding them would hide half of an
/// answer.
const KEY_CHARS: usize = 8;

/// Builds a client for this URL. Where plain HTTP is spoken, a machine without certificate authorities will do; the library
/// refuses to build a client there.
///
/// # Errors
/// When the client cannot be built.
pub fn build_client(url: &str, builder: impl Fn() -> ClientBuilder) -> reqwest::Result<Client> {
    let built = builder().build();
    if built.is_err() && url.starts_with("http://") {
        return builder().tls_certs_only([]).build();
    }
    built
}

impl HttpClient {
    /// Creates the client without connecting.
    ///
    /// # Errors
    /// If the URL or the authority cannot be read, or the URL names an address that may not be called. A name is
    /// checked whenever it is resolved.
    pub fn new(settings: &HttpSettings) -> Result<Self, HttpError> {
        tls::install();
        let url = Url::parse(&settings.url).map_err(|error| HttpError::Url(error.to_string()))?;
        let name = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        // The client does not call the resolver for literal addresses.
        if let Ok(address) = name.parse::<IpAddr>() {
            settings.reach.check(&name, address)?;
        }
        let bundle = settings.ca.as_ref().map(|ca| Certificate::from_pem_bundle(ca)).transpose();
        let bundle = bundle.map_err(|error| HttpError::Authority(root_cause(&error)))?;
        let builder = || {
            let builder = Client::builder()
                // A redirect would send the request to another host, unchecked.
                .redirect(redirect::Policy::none())
                // A proxy resolves names and would reach forbidden addresses.
                .no_proxy()
                .dns_resolver(Arc::new(PolicyResolver(settings.reach.clone())))
                .timeout(settings.timeout)
                .user_agent(concat!("chainflume/", env!("CARGO_PKG_VERSION")));
            match &bundle {
                Some(bundle) => builder.tls_certs_only(bundle.clone()),
                None => builder,
            }
        };
        let client = build_client(&settings.url, builder);
        let client = client.map_err(|error| HttpError::Url(root_cause(&error)))?;
        // As in the URL: an IPv6 address is in brackets.
        let shown = if name.contains(':') { format!("[{name}]") } else { name };
        let host = url.port().map_or_else(|| shown.clone(), |port| format!("{shown}:{port}"));
        Ok(Self { client, url, host, timeout: settings.timeout, has_own_ca: settings.ca.is_some() })
    }

    /// Host and port: the only parts of the URL that may be logged.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Sends JSON with these additional headers.
    ///
    /// # Errors
    /// If no answer came. An answer with an error status is not an error here.
    pub async fn send(
        &self,
        headers: &[(&'static str, String)],
        body: String,
    ) -> Result<HttpResponse, HttpError> {
        let response = self.post(headers, body).await?;
        Ok(self.read(response).await)
    }

    /// The same, with the body of an answer of success, which has at most `most` bytes.
    ///
    /// # Errors
    /// As [`Self::send`], and if the body is longer or breaks off.
    pub async fn ask(
        &self,
        headers: &[(&'static str, String)],
        body: String,
        most: usize,
    ) -> Result<(HttpResponse, Vec<u8>), HttpError> {
        let mut response = self.post(headers, body).await?;
        let bytes = match response.status().is_success() {
            true => self.body(&mut response, most).await?,
            false => Vec::new(),
        };
        Ok((self.read(response).await, bytes))
    }

    async fn post(&self, headers: &[(&'static str, String)], body: String) -> Result<Response, HttpError> {
        let mut request =
            self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        for (name, value) in headers {
            // A header value is always valid: it consists of digits and base64.
            if let Ok(value) = HeaderValue::from_str(value) {
                request = request.header(HeaderName::from_static(name), value);
            }
        }
        request.send().await.map_err(|error| self.failed(&error))
    }

    /// Checks that the server answers, with a request without a body; returns the status of the answer.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn look(&self) -> Result<u16, HttpError> {
        let request = self.client.request(Method::HEAD, self.url.clone());
        Ok(request.send().await.map_err(|error| self.failed(&error))?.status().as_u16())
    }

    /// Fetches a document of at most `most` bytes.
    ///
    /// # Errors
    /// As [`Self::send`], and if the answer has an error status or is longer.
    pub async fn fetch(&self, most: usize) -> Result<Vec<u8>, HttpError> {
        let mut response =
            self.client.get(self.url.clone()).send().await.map_err(|error| self.failed(&error))?;
        if !response.status().is_success() {
            return Err(self.wrong(format!("answered {}", response.status().as_u16())));
        }
        self.body(&mut response, most).await
    }

    async fn body(&self, response: &mut Response, most: usize) -> Result<Vec<u8>, HttpError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&error))? {
            if bytes.len() + chunk.len() > most {
                return Err(self.wrong(format!("answered more than {most} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn wrong(&self, what: String) -> HttpError {
        HttpError::Answer { host: self.host.clone(), what }
    }

    /// Only the status decides. No more of the text is read than is shown, and an interrupted body is ignored.
    async fn read(&self, mut response: Response) -> HttpResponse {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(read_retry_after);
        let mut bytes = Vec::new();
        while !status.is_success()
            && bytes.len() < ANSWER_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES - bytes.len())]);
        }
        HttpResponse {
            status: status.as_u16(),
            retry_after,
            text: self.shown(&String::from_utf8_lossy(&bytes)),
        }
    }

    fn shown(&self, text: &str) -> String {
        let path = self.url.path_segments().into_iter().flatten().map(str::to_owned);
        let query = self.url.query_pairs().map(|(_, value)| value.into_owned());
        let user = [self.url.username(), self.url.password().unwrap_or_default()].map(str::to_owned);
        let keys = path.chain(query).chain(user).filter(|part| part.len() >= KEY_CHARS);
        one_line(&keys.fold(text.to_owned(), |text, key| text.replace(&key, "<key>")), ANSWER_CHARS)
    }

    fn failed(&self, error: &reqwest::Error) -> HttpError {
        if let Some(forbidden) = forbidden(error) {
            return forbidden;
        }
        let host = self.host.clone();
        if error.is_timeout() {
            return HttpError::Timeout { host, after: self.timeout };
        }
        let reason = root_cause(error);
        let fault = TlsFault::of(&reason);
        // A certificate may have thousands of names, of any characters, and the error quotes them.
        let reason = one_line(&reason, REASON_CHARS);
        match fault {
            Some(fault) => HttpError::Untrusted { host, reason, remedy: self.remedy(fault) },
            None => HttpError::Unreachable { host, reason },
        }
    }

    fn remedy(&self, fault: TlsFault) -> Cow<'static, str> {
        let by_authorities = matches!(fault, TlsFault::NoAuthorities | TlsFault::UnknownAuthority);
        if by_authorities
            && !self.has_own_ca
            && let Some(wrong) = tls::wrong_variable()
        {
            return wrong.into();
        }
        let known = match fault {
            TlsFault::NoAuthorities | TlsFault::UnknownAuthority if self.has_own_ca => {
                "another authority signed its certificate: name the file of that one in ca_file"
            }
            TlsFault::NoAuthorities => {
                "this machine has no certificate authorities: install ca-certificates, or name the authority's file in ca_file"
            }
            TlsFault::UnknownAuthority => {
                "this machine does not know the authority of its certificate: name the authority's file in ca_file, or in the \
                 variable SSL_CERT_FILE"
            }
            TlsFault::OtherName => "its certificate is for another name: write that name into the url",
            TlsFault::AuthorityAsServer => tls::AUTHORITY_AS_SERVER,
            TlsFault::Certificate => tls::INVALID_CERTIFICATE,
            TlsFault::NoTls => "the port does not speak TLS: write http://, or another port",
            TlsFault::ClientCertificate => {
                "it wants a certificate of the client, which cannot be configured: put a proxy with one before it"
            }
            TlsFault::ClientRefused => {
                "it refuses this client: put a proxy with an accepted certificate before it"
            }
        };
        known.into()
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("host", &self.host).finish_non_exhaustive()
    }
}

/// The error of our resolver, if it caused this error.
fn forbidden(error: &reqwest::Error) -> Option<HttpError> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(ours) = error.downcast_ref::<HttpError>() {
            return Some(ours.clone());
        }
        cause = error.source();
    }
    None
}

/// The innermost cause: the outer ones repeat it and contain the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause = std::error::Error::source(error);
    let mut text = "the request could not be made".to_owned();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

/// `Retry-After` is seconds or an HTTP date (RFC 9110 §10.2.3).
fn read_retry_after(value: &str) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value.trim()).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str, reach: AddressPolicy) -> HttpSettings {
        HttpSettings { url: url.to_owned(), timeout: Duration::from_secs(5), reach, ca: None }
    }

    #[test]
    fn an_address_in_the_url_is_looked_at_however_it_is_written() {
        let public = || AddressPolicy::Public { except: std::collections::BTreeSet::new() };
        for url in
            ["http://127.0.0.1/", "http://2130706433/", "http://0x7f.1:80/x", "https://[::ffff:a9fe:a9fe]/"]
        {
            let error = HttpClient::new(&settings(url, public())).expect_err(url);
            assert!(matches!(error, HttpError::Forbidden { .. }), "{url}: {error}");
        }
        let except = ["127.0.0.1".to_owned(), "::1".to_owned()].into();
        let reach = AddressPolicy::Public { except };
        for (url, host) in [
            ("http://127.0.0.1:9/", "127.0.0.1:9"),
            ("http://[::1]:9/", "[::1]:9"),
            ("https://1.1.1.1/", "1.1.1.1"),
        ] {
            let client = HttpClient::new(&settings(url, reach.clone())).expect(url);
            assert_eq!(client.host(), host);
        }
    }

    #[test]
    fn a_machine_without_authorities_needs_ca_certificates() {
        let client =
            HttpClient::new(&settings("https://crm.example/", AddressPolicy::Anywhere)).expect("a url");
        let remedy = |reason: &str| client.remedy(TlsFault::of(reason).expect("a fault of TLS"));
        let none = remedy("unexpected error: No CA certificates were loaded from the system");
        assert!(none.contains("install ca-certificates") && none.contains("ca_file"), "{none}");
        let unknown = remedy("invalid peer certificate: UnknownIssuer");
        assert!(!unknown.contains("install") && unknown.contains("ca_file"), "{unknown}");
    }

    #[test]
    fn an_answer_is_shortened_without_the_keys_of_the_url() {
        let post = HttpClient::new(&settings(
            "https://u:password1@crm.example/hook/keykeykey?t=tokentoken",
            AddressPolicy::Anywhere,
        ));
        let shown =
            post.expect("a url").shown("no  such\n hook: keykeykey tokentoken password1 hook\u{1b}[1m");
        assert_eq!(shown, "no such hook: <key> <key> <key> hook [1m");
    }

    /// Answers each request with these bytes.
    fn server(answer: &'static str) -> String {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let _request = stream.read(&mut [0; 4_096]);
                let _sent = stream.write_all(answer.as_bytes());
            }
        });
        url
    }

    fn client(answer: &'static str) -> HttpClient {
        HttpClient::new(&settings(&server(answer), AddressPolicy::Anywhere)).expect("a url")
    }

    #[tokio::test]
    async fn a_document_is_fetched_up_to_its_limit_and_without_redirects() {
        const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
        assert_eq!(client(OK).fetch(5).await.expect("it fits"), b"hello");
        let long = client(OK).fetch(4).await.expect_err("it does not fit").to_string();
        assert!(long.contains("answered more than 4 bytes"), "{long}");
        for (answer, status) in [
            ("HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello", "answered 404"),
            (
                "HTTP/1.1 302 Found\r\nlocation: /other\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                "answered 302",
            ),
        ] {
            let refused = client(answer).fetch(5).await.expect_err(status).to_string();
            assert!(refused.contains(status), "{refused}");
        }
    }

    #[tokio::test]
    async fn the_text_of_an_answer_is_read_where_it_is_a_refusal() {
        let send = async |answer| client(answer).send(&[], String::new()).await.expect("it answers");
        let fine = send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello").await;
        assert_eq!(fine, HttpResponse { status: 200, retry_after: None, text: String::new() });
        let busy =
            "HTTP/1.1 429 Too Many\r\nretry-after: 7\r\nconnection: close\r\ncontent-length: 4\r\n\r\nslow";
        let busy = send(busy).await;
        let retry_after = Some(Duration::from_secs(7));
        assert_eq!(busy, HttpResponse { status: 429, retry_after, text: "slow".to_owned() });
        let asked = client("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello");
        let (answer, body) = asked.ask(&[], String::new(), 5).await.expect("it fits");
        assert_eq!((answer.status, body.as_slice()), (200, &b"hello"[..]));
        asked.ask(&[], String::new(), 4).await.expect_err("it does not fit");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(read_retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read_retry_after("soon"), None);
    }
}
