//! The cookie of the status page: it looks, and does nothing else.
//!
//! Pictures and links of a page send no headers, and what a script of the page can read, any script that ever runs there
//! can take along. So the page's login lies in a cookie that scripts do not see (`HttpOnly`) and that browsers send for no
//! page of another site (`SameSite=Strict`). A browser shows a host's cookies to every port of it, so other servers of this
//! machine may hear it: therefore the token in it is good for nothing but looking, where a front end lets it count, and
//! ends with the logins of its user.

use axum::http::{HeaderMap, HeaderValue, header};

use super::tokens::{PAGE_LIFE, Use};
use super::{Access, Identity};

/// Cookies of the name that are tried: those of other paths come along.
const TRIED: usize = 4;

/// Who looks by the cookie of a page. A front end puts it into requests that only look ([`Access::visitor`]); it counts
/// where a request shows nothing else.
#[derive(Clone)]
pub struct Visitor(pub Identity);

impl Access {
    /// Whose cookie a request brings, while the login is good.
    pub fn visitor(&self, headers: &HeaderMap) -> Option<Visitor> {
        let name = name(headers);
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let mut shown = pairs.filter(|(known, _)| *known == name).map(|(_, token)| token).take(TRIED);
        shown.find_map(|token| self.verify(token, Use::Page)).map(Visitor)
    }

    /// The `Set-Cookie` of a login. Without a path: the browser takes the folder of the request, which behind a proxy is
    /// not ours to know. `None` where the login has ended.
    pub fn visitor_cookie(
        &self,
        identity: &Identity,
        headers: &HeaderMap,
        secure: bool,
    ) -> Option<HeaderValue> {
        let Identity::User { .. } = identity else { return None };
        let token = self.token(identity.name(), Use::Page)?;
        cookie(headers, token.expose(), PAGE_LIFE, secure)
    }

    /// The `Set-Cookie` that takes it away.
    pub fn no_visitor_cookie(&self, headers: &HeaderMap, secure: bool) -> Option<HeaderValue> {
        cookie(headers, "", 0, secure)
    }
}

fn cookie(headers: &HeaderMap, token: &str, life: u64, secure: bool) -> Option<HeaderValue> {
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{}={token}; Max-Age={life}; HttpOnly; SameSite=Strict{secure}", name(headers));
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// With the port by which the browser calls us: two gateways on one host would take each other's cookie away.
fn name(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let port = host.rsplit_once(':').map(|(_, port)| port).and_then(|port| port.parse::<u16>().ok());
    port.map_or_else(|| "moongate".to_owned(), |port| format!("moongate_{port}"))
}

#[cfg(test)]
mod tests {
    use super::super::{AccessSettings, Role};
    use super::*;
    use crate::store::Store;

    fn headers(host: &str, cookies: &str) -> HeaderMap {
        HeaderMap::from_iter([
            (header::HOST, host.parse().expect("a header")),
            (header::COOKIE, cookies.parse().expect("a header")),
        ])
    }

    #[tokio::test]
    async fn a_cookie_looks_and_ends_with_the_login() {
        let access = Access::open(AccessSettings::default(), &Store::in_memory());
        let login = access.create_user("alice", "pw", Role::Admin).await.expect("made");
        let at = headers("printers.lan:7100", "x=1");
        let set = access.visitor_cookie(&login.identity, &at, false).expect("a cookie");
        assert_eq!(format!("{set:?}"), "Sensitive");
        let set = set.to_str().expect("text");
        assert!(set.ends_with("; Max-Age=2592000; HttpOnly; SameSite=Strict"), "{set}");
        let pair = set.split(';').next().expect("a pair");
        let token = pair.strip_prefix("moongate_7100=").expect("the port's name");

        let sent = headers("printers.lan:7100", &format!("theme=dark; moongate_7100=old; {pair}"));
        assert_eq!(access.visitor(&sent).map(|visitor| visitor.0), Some(login.identity.clone()));
        assert!(access.visitor(&headers("printers.lan:7101", pair)).is_none(), "another gateway's");
        assert!(access.visitor(&at).is_none());
        assert!(access.check_token(token).is_err(), "no credentials of an API");
        assert!(access.refresh(token).is_err());
        let bearer = headers("printers.lan:7100", &format!("moongate_7100={}", login.token.expose()));
        assert!(access.visitor(&bearer).is_none(), "nor the other way round");
        assert_eq!(access.judge(&sent, "", None), Ok(None), "by itself it counts nowhere");

        access.logout(&login.identity).await.expect("logged out");
        assert!(access.visitor(&sent).is_none());
        assert!(access.visitor_cookie(&login.identity, &at, false).is_none());
        let gone = access.no_visitor_cookie(&at, true).expect("a cookie");
        assert_eq!(gone, "moongate_7100=; Max-Age=0; HttpOnly; SameSite=Strict; Secure");
        assert!(access.visitor_cookie(&Identity::ApiKey, &at, false).is_none(), "a key has no user");
    }

    #[test]
    fn the_name_of_the_cookie_tells_the_port() {
        for (host, expected) in [
            ("127.0.0.1:7100", "moongate_7100"),
            ("[::1]:7100", "moongate_7100"),
            ("[::1]", "moongate"),
            ("printers.example.org", "moongate"),
            ("x:y; a=b", "moongate"),
        ] {
            assert_eq!(name(&headers(host, "a=b")), expected, "{host}");
        }
    }
}
