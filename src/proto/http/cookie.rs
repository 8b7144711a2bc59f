//! The cookie of the handshake: `Set-Cookie` as the npm package `cookie` writes it, which the
//! reference uses (protocol.md §11.2). It helps a balancer to find the process of a session, and
//! plays no part in identifying it.

use super::{InvalidOption, is_token};

/// Longest label of a domain (RFC 1034 3.1).
const LABEL_BYTES_MAX: usize = 63;

/// The end of the year 9999, behind which a date has more digits than its form allows.
const EXPIRES_UNIX_SECONDS_MAX: u64 = 253_402_300_799;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// `cookie`: the options of the npm package of this name, with its meanings and the defaults of
/// Socket.IO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieOptions {
    /// `name`: a token. Default: `io`.
    pub name: String,
    /// `path`: the requests that the browser sends the cookie with. Default: `/`. `None` leaves it
    /// out, as `false` does.
    pub path: Option<String>,
    /// `httpOnly`: whether scripts of the page do not see the cookie. Default: true.
    pub http_only: bool,
    /// `sameSite`: whether the cookie is sent with requests from other sites. Default:
    /// [`SameSite::Lax`]. `None` leaves it out, as `false` does.
    pub same_site: Option<SameSite>,
    /// `maxAge`: how long the browser keeps the cookie. Default: not told, which is as long as it
    /// runs.
    pub max_age_seconds: Option<u64>,
    /// `expires`: until when the browser keeps the cookie, in seconds since 1970, up to the end of
    /// the year 9999. Default: not told.
    pub expires_unix_seconds: Option<u64>,
    /// `domain`: whose subdomains get the cookie, too. Default: not told, which is none.
    pub domain: Option<String>,
    /// `secure`: whether the cookie is only sent over TLS. Default: false.
    pub secure: bool,
    /// `partitioned`: whether each site that embeds the page gets a cookie of its own. Default:
    /// false.
    pub partitioned: bool,
    /// `priority`: which cookies a full browser keeps. Default: not told, which is medium.
    pub priority: Option<CookiePriority>,
}

impl Default for CookieOptions {
    fn default() -> CookieOptions {
        CookieOptions {
            name: "io".to_owned(),
            path: Some("/".to_owned()),
            http_only: true,
            same_site: Some(SameSite::Lax),
            max_age_seconds: None,
            expires_unix_seconds: None,
            domain: None,
            secure: false,
            partitioned: false,
            priority: None,
        }
    }
}

/// With which requests from other sites a browser sends a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// With none.
    Strict,
    /// With those that bring the user to this site.
    Lax,
    /// With all of them. Browsers ask for `secure`, too.
    None,
}

/// Which cookies a browser keeps that has too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookiePriority {
    /// Goes first.
    Low,
    /// What cookies are that say nothing.
    Medium,
    /// Goes last.
    High,
}

/// [`CookieOptions`] that were found to be right, as the texts on both sides of the session id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    name: String,
    attributes: String,
}

impl Cookie {
    /// Checks the options.
    ///
    /// # Errors
    /// The application's name is no token, its path or domain has characters that would end them,
    /// or its date is behind the year 9999.
    pub fn new(options: &CookieOptions) -> Result<Cookie, InvalidOption> {
        check(options)?;
        let priority = options.priority.map(|priority| match priority {
            CookiePriority::Low => "Low",
            CookiePriority::Medium => "Medium",
            CookiePriority::High => "High",
        });
        let same_site = options.same_site.map(|same_site| match same_site {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        });
        let valued = |name: &str, value: Option<&str>| {
            let value = value.filter(|value| !value.is_empty());
            value.map(|value| format!("; {name}={value}")).unwrap_or_default()
        };
        let flag = |name: &str, is_set: bool| match is_set {
            true => format!("; {name}"),
            false => String::new(),
        };
        let max_age = options.max_age_seconds.map(|age| age.to_string());
        let expires = options.expires_unix_seconds.map(http_date);
        let attributes = [
            valued("Max-Age", max_age.as_deref()),
            valued("Domain", options.domain.as_deref()),
            valued("Path", options.path.as_deref()),
            valued("Expires", expires.as_deref()),
            flag("HttpOnly", options.http_only),
            flag("Secure", options.secure),
            flag("Partitioned", options.partitioned),
            valued("Priority", priority),
            valued("SameSite", same_site),
        ];
        Ok(Cookie { name: options.name.clone(), attributes: attributes.concat() })
    }

    /// The value of the `Set-Cookie` that the answer to a polling handshake holds; no other answer
    /// has one. The session id is escaped, so that one which the application has made is nothing
    /// but a value.
    pub fn value(&self, session: &str) -> String {
        let mut value =
            String::with_capacity(self.name.len() + 1 + session.len() + self.attributes.len());
        value.push_str(&self.name);
        value.push('=');
        session.bytes().for_each(|byte| push_escaped(&mut value, byte));
        value.push_str(&self.attributes);
        value
    }
}

fn check(options: &CookieOptions) -> Result<(), InvalidOption> {
    // What `cookie` takes: neither what ends an attribute, nor `<`.
    let path_part = |byte: u8| matches!(byte, b' '..=b'~') && !b";<".contains(&byte);
    let path = options.path.as_deref().unwrap_or_default();
    let domain = options.domain.as_deref().unwrap_or_default();
    let expires = options.expires_unix_seconds.unwrap_or_default();
    let checks = [
        (is_token(options.name.as_bytes()), "cookie.name", "it must be a token"),
        (path.bytes().all(path_part), "cookie.path", "it must be plain ASCII without ; and <"),
        (domain.is_empty() || is_domain(domain), "cookie.domain", "it must be a host name"),
        (
            expires <= EXPIRES_UNIX_SECONDS_MAX,
            "cookie.expires_unix_seconds",
            "it must be before the year 10000",
        ),
    ];
    match checks.into_iter().find(|(holds, _, _)| !holds) {
        Some((_, option, reason)) => Err(InvalidOption { option, reason: reason.to_owned() }),
        None => Ok(()),
    }
}

/// Labels of letters, digits and inner hyphens. The dot in front, which browsers ignore, is how
/// older applications write a domain.
fn is_domain(text: &str) -> bool {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label = |label: &str| {
        let is_short = (1..=LABEL_BYTES_MAX).contains(&label.len());
        let is_bare = !label.starts_with('-') && !label.ends_with('-');
        is_short && is_bare && label.bytes().all(part)
    };
    text.strip_prefix('.').unwrap_or(text).split('.').all(is_label)
}

/// As `encodeURIComponent`, whose result has no character that would end a cookie's value.
fn push_escaped(text: &mut String, byte: u8) {
    if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
        text.push(char::from(byte));
    } else {
        let digits = [byte >> 4, byte & 0xf].map(|digit| char::from_digit(digit.into(), 16));
        text.push('%');
        text.extend(digits.into_iter().flatten().map(|digit| digit.to_ascii_uppercase()));
    }
}

/// The one form in which dates are written (RFC 9110 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(unix_seconds: u64) -> String {
    let (mut day, second) = (unix_seconds / DAY_SECONDS, unix_seconds % DAY_SECONDS);
    // The first day of 1970 was a Thursday.
    let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let weekday = weekdays.iter().cycle().nth((day % 7) as usize).copied().unwrap_or_default();
    let mut year = 1970_u64;
    while day >= year_days(year) {
        day -= year_days(year);
        year += 1;
    }
    let february = year_days(year) - 337;
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let names =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut month = "";
    for (name, length) in names.into_iter().zip(lengths) {
        month = name;
        if day < length {
            break;
        }
        day -= length;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let (date, second) = (day + 1, second % 60);
    format!("{weekday}, {date:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

fn year_days(year: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    365 + u64::from(is_leap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::Field;
    use proptest::prelude::*;

    const SESSION: &str = "abcDEF-_0123";

    fn default() -> CookieOptions {
        CookieOptions::default()
    }

    fn value(options: &CookieOptions) -> String {
        Cookie::new(options).unwrap().value(SESSION)
    }

    #[test]
    fn b2_1_b2_5_b2_8_the_default_is_that_of_socket_io() {
        assert_eq!(value(&default()), "io=abcDEF-_0123; Path=/; HttpOnly; SameSite=Lax");
    }

    #[test]
    fn b2_2_the_cookie_has_the_name_that_it_is_given() {
        let options = CookieOptions { name: "woot".into(), ..default() };
        assert_eq!(value(&options), "woot=abcDEF-_0123; Path=/; HttpOnly; SameSite=Lax");
    }

    #[test]
    fn b2_3_b2_4_the_path_is_the_one_that_is_given_or_none() {
        let options = CookieOptions { path: Some("/custom".into()), ..default() };
        assert_eq!(value(&options), "io=abcDEF-_0123; Path=/custom; HttpOnly; SameSite=Lax");
        for path in [None, Some(String::new())] {
            let options = CookieOptions { path, ..default() };
            assert_eq!(value(&options), "io=abcDEF-_0123; HttpOnly; SameSite=Lax");
        }
    }

    #[test]
    fn b2_6_each_kind_of_same_site_has_its_word() {
        for (same_site, words) in [
            (Some(SameSite::Strict), "; SameSite=Strict"),
            (Some(SameSite::Lax), "; SameSite=Lax"),
            (Some(SameSite::None), "; SameSite=None"),
            (None, ""),
        ] {
            let options = CookieOptions { same_site, ..default() };
            assert_eq!(value(&options), format!("io=abcDEF-_0123; Path=/; HttpOnly{words}"));
        }
    }

    #[test]
    fn b2_7_http_only_can_be_left_out() {
        let options = CookieOptions { http_only: false, ..default() };
        assert_eq!(value(&options), "io=abcDEF-_0123; Path=/; SameSite=Lax");
    }

    #[test]
    fn all_attributes_stand_in_the_order_of_the_npm_package() {
        let options = CookieOptions {
            name: "all".into(),
            path: Some("/a b?c=d".into()),
            http_only: true,
            same_site: Some(SameSite::None),
            max_age_seconds: Some(0),
            expires_unix_seconds: Some(784_111_777),
            domain: Some(".Example.com".into()),
            secure: true,
            partitioned: true,
            priority: Some(CookiePriority::High),
        };
        assert_eq!(
            value(&options),
            "all=abcDEF-_0123; Max-Age=0; Domain=.Example.com; Path=/a b?c=d; \
             Expires=Sun, 06 Nov 1994 08:49:37 GMT; HttpOnly; Secure; Partitioned; \
             Priority=High; SameSite=None"
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (86_399, "Thu, 01 Jan 1970 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
            (1_835_395_200, "Tue, 29 Feb 2028 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (EXPIRES_UNIX_SECONDS_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(seconds), date);
        }
    }

    #[test]
    fn a_wrong_option_is_named() {
        let domain = |domain: &str| CookieOptions { domain: Some(domain.into()), ..default() };
        let path = |path: &str| CookieOptions { path: Some(path.into()), ..default() };
        let name = |name: &str| CookieOptions { name: name.into(), ..default() };
        let late = Some(EXPIRES_UNIX_SECONDS_MAX + 1);
        let wrong = [
            (name(""), "cookie.name"),
            (name("a=b"), "cookie.name"),
            (name("a b"), "cookie.name"),
            (path("/a;b"), "cookie.path"),
            (path("/a\r\nb"), "cookie.path"),
            (path("/\u{e9}"), "cookie.path"),
            (path("/<"), "cookie.path"),
            (domain("a..b"), "cookie.domain"),
            (domain("-a.b"), "cookie.domain"),
            (domain("a.b;"), "cookie.domain"),
            (domain("a b"), "cookie.domain"),
            (domain("."), "cookie.domain"),
            (domain(&"a".repeat(64)), "cookie.domain"),
            (CookieOptions { expires_unix_seconds: late, ..default() }, "expires_unix_seconds"),
        ];
        for (options, option) in wrong {
            let error = Cookie::new(&options).unwrap_err();
            assert!(error.option.ends_with(option), "{options:?}: {error}");
        }
        assert!(Cookie::new(&domain(&"a".repeat(63))).is_ok());
    }

    #[test]
    fn a_session_id_of_the_application_is_escaped() {
        let cookie = Cookie::new(&CookieOptions { path: None, same_site: None, ..default() });
        let value = cookie.unwrap().value("a b;c=\u{e9}\r\n%\"~!*'()");
        assert_eq!(value, "io=a%20b%3Bc%3D%C3%A9%0D%0A%25%22~!*'(); HttpOnly");
    }

    proptest! {
        #[test]
        fn every_session_id_makes_a_header(session in any::<String>()) {
            let value = Cookie::new(&default()).unwrap().value(&session);
            prop_assert!(Field::new("Set-Cookie", value.as_bytes()).is_ok());
            let (escaped, rest) = value.split_once(';').unwrap();
            prop_assert!(escaped.is_ascii() && !escaped.contains([' ', '"', ',', '\\']));
            prop_assert_eq!(rest, " Path=/; HttpOnly; SameSite=Lax");
        }
    }
}
