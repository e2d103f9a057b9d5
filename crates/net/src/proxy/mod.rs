//! The host's HTTP proxy: which one, and for which destinations.
//!
//! Settings are those of the environment, as other programs read them. One proxy carries everything but port 80, where
//! `HTTP_PROXY` goes first: `HTTPS_PROXY`, else `ALL_PROXY`, else `HTTP_PROXY`. Names that go through it are not resolved
//! here, since the host often cannot.

mod connect;
mod no_proxy;

pub(crate) use connect::{ConnectError, tunnel};

use crate::policy::HostName;
use no_proxy::NoProxy;
use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

/// A proxy's place, and what it wants to be told.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The value of `Proxy-Authorization`.
    pub(crate) authorization: Option<String>,
}

/// A password is nothing for a log.
impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "http://{}:{}", self.host, self.port)
    }
}

/// Which proxy, and for what.
#[derive(Debug, Clone, Default)]
pub struct ProxySettings {
    secure: Option<Proxy>,
    plain: Option<Proxy>,
    direct: NoProxy,
}

/// A setting that cannot be followed. It never holds the setting itself, which may have a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Only proxies that are spoken to in plain HTTP are known.
    #[error("{variable} names a proxy of the kind `{scheme}`; only `http` is known")]
    Scheme {
        /// The environment variable.
        variable: String,
        /// What kind it names.
        scheme: String,
    },
    /// The setting is no URL.
    #[error("{variable} is no URL of a proxy, such as http://proxy.example:3128")]
    Url {
        /// The environment variable.
        variable: String,
    },
}

impl ProxySettings {
    /// The settings of `environment`: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, where the name in lower case
    /// goes first, and an empty value counts as none.
    pub fn from_environment(environment: &HashMap<String, String>) -> Result<Self, ProxyError> {
        let find = |name: &str| {
            [name.to_ascii_lowercase(), name.to_owned()].into_iter().find_map(|variable| {
                let value = environment.get(&variable)?.trim();
                (!value.is_empty()).then_some((variable, value))
            })
        };
        let proxy = |name| find(name).map(|(variable, url)| parse(&variable, url)).transpose();
        let (https, http) = (proxy("HTTPS_PROXY")?, proxy("HTTP_PROXY")?);
        // Often a SOCKS proxy, for those that know no other. It counts where nothing else is set.
        let all = match proxy("ALL_PROXY") {
            Err(error) if https.is_none() && http.is_none() => return Err(error),
            all => all.unwrap_or_default(),
        };
        let secure = https.or(all.clone()).or(http.clone());
        let plain = http.or(all).or(secure.clone());
        let direct = find("NO_PROXY").map(|(_, list)| NoProxy::parse(list)).unwrap_or_default();
        Ok(Self { secure, plain, direct })
    }

    /// Whether there is a proxy at all.
    pub fn is_set(&self) -> bool {
        self.secure.is_some()
    }

    /// Whether connections to `name` go through the proxy.
    pub(crate) fn takes_name(&self, name: &HostName) -> bool {
        self.is_set() && !self.direct.has_name(name)
    }

    /// Whether connections to `address`, which came without a name, go through the proxy.
    pub(crate) fn takes_address(&self, address: IpAddr) -> bool {
        self.is_set() && !self.direct.has_address(address)
    }

    pub(crate) fn for_port(&self, port: u16) -> Option<&Proxy> {
        if port == 80 { self.plain.as_ref() } else { self.secure.as_ref() }
    }
}

/// `[http://][user[:password]@]host[:port][/]`.
fn parse(variable: &str, url: &str) -> Result<Proxy, ProxyError> {
    let bad = || ProxyError::Url { variable: variable.to_owned() };
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            return Err(ProxyError::Scheme { variable: variable.to_owned(), scheme: scheme.to_owned() });
        }
        Some(_) => return Err(bad()),
        None => url,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user, place) =
        authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
    let (host, port) = match place.strip_prefix('[') {
        Some(place) => {
            let (host, port) = place.split_once(']').ok_or_else(bad)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            (host, port.strip_prefix(':').unwrap_or(port))
        }
        None => place.split_once(':').unwrap_or((place, "")),
    };
    let port = if port.is_empty() { 80 } else { port.parse().map_err(|_| bad())? };
    let well_formed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || port == 0 || !host.bytes().all(well_formed) {
        return Err(bad());
    }
    let authorization = user.map(|user| format!("Basic {}", base64(&unescape(user))));
    Ok(Proxy { host: host.to_owned(), port, authorization })
}

/// Percent escapes undone; what is no escape stays.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.filter(|_| *byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(escaped.unwrap_or(*byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    out
}

/// The one place that needs it is this header.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * index) & 63) as usize];
            out.push(if index <= chunk.len() { digit.into() } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<ProxySettings, ProxyError> {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ProxySettings::from_environment(&owned)
    }

    #[test]
    fn variables_have_an_order() {
        let none = settings(&[("HTTPS_PROXY", ""), ("PATH", "/bin")]).unwrap();
        assert!(!none.is_set() && none.for_port(443).is_none());
        let cases = [
            ("HTTPS_PROXY=http://a:1", "a:1", "a:1"),
            ("https_proxy=b:2 HTTPS_PROXY=a:1", "b:2", "b:2"),
            ("HTTP_PROXY=http://h HTTPS_PROXY=http://s:9/", "s:9", "h:80"),
            ("HTTP_PROXY=http://h:3128", "h:3128", "h:3128"),
            ("HTTPS_PROXY=http://a:1 ALL_PROXY=socks5://b:2", "a:1", "a:1"),
            ("all_proxy=http://[2001:db8::1]:8080", "2001:db8::1:8080", "2001:db8::1:8080"),
        ];
        for (variables, secure, plain) in cases {
            let pairs: Vec<_> = variables.split(' ').filter_map(|pair| pair.split_once('=')).collect();
            let settings = settings(&pairs).unwrap();
            let place =
                |port| settings.for_port(port).map(|proxy| format!("{}:{}", proxy.host, proxy.port)).unwrap();
            assert_eq!((place(443).as_str(), place(80).as_str()), (secure, plain), "{variables:?}");
        }
    }

    #[test]
    fn credentials_become_a_header_and_no_text() {
        let settings = settings(&[("HTTPS_PROXY", "http://Aladdin:open%20sesame@p.test:3128")]).unwrap();
        let proxy = settings.for_port(443).unwrap();
        assert_eq!(proxy.authorization.as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
        assert!(!format!("{settings:?}").contains("QWxh"));
    }

    #[test]
    fn what_is_no_http_proxy_is_refused() {
        assert!(matches!(settings(&[("ALL_PROXY", "socks5://p:1")]), Err(ProxyError::Scheme { .. })));
        for bad in [
            "http://",
            "http://:80",
            "http://p:x",
            "http://p:0",
            "http://[::1",
            "http://a b",
            "http://p\r\nX:1",
            "u:secret@p://x",
        ] {
            let error = settings(&[("HTTPS_PROXY", bad)]).unwrap_err();
            assert_eq!(error, ProxyError::Url { variable: "HTTPS_PROXY".to_owned() }, "{bad}");
        }
    }

    #[test]
    fn base64_pads() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
