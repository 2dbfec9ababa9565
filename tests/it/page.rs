//! The page: its files, and the cookie that stands for a token.

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::app::{App, Client, http_client};

const PLAIN: &str = "wahook-page=";
const SECURE: &str = "__Host-wahook-page=";

/// A browser at the page: it sends what the page's script and the browser itself send.
struct Browser<'a> {
    app: &'a App,
    http: reqwest::Client,
    origin: String,
    cookie: String,
}

impl<'a> Browser<'a> {
    fn new(app: &'a App) -> Self {
        Self {
            app,
            http: http_client(),
            origin: app.api.clone(),
            cookie: String::new(),
        }
    }

    /// A request with the cookie alone, as any site can make the browser send it.
    fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.app.api));
        request.header("cookie", &self.cookie)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.bare(method, path).header("x-wahook-page", "1");
        request.header("origin", &self.origin)
    }

    async fn sign_in(&mut self, token: &str) -> Response {
        let request = self.request(Method::POST, "/api/page/session");
        let request = request.json(&json!({"token": token}));
        let answer = request.send().await.expect("an answer");
        if let Some(cookie) = answer.headers().get("set-cookie") {
            let cookie = cookie.to_str().expect("text").split(';').next();
            self.cookie = cookie.expect("a pair").to_owned();
        }
        answer
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.request(Method::GET, path).send().await;
        json_of(answer.expect("an answer")).await
    }
}

async fn json_of(answer: Response) -> (StatusCode, Value) {
    let status = answer.status();
    let text = answer.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

async fn signed_in<'a>(app: &'a App, client: &Client) -> Browser<'a> {
    let mut browser = Browser::new(app);
    assert_eq!(browser.sign_in(&client.token).await.status(), 200);
    browser
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_served_with_strict_headers() {
    let app = App::start().await;
    let get = async |path: &str, name: &'static str, value: &str| {
        let request = http_client().get(format!("{}{path}", app.api));
        let answer = request.header(name, value).send().await;
        answer.expect("an answer")
    };
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page/app.js", "text/javascript; charset=utf-8"),
        ("/page/app.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
    ] {
        let plain = get(path, "accept-encoding", "identity").await;
        let headers = plain.headers().clone();
        assert_eq!(
            (plain.status(), &headers["content-type"]),
            (StatusCode::OK, &kind.parse().expect("a value"))
        );
        let policy = headers["content-security-policy"].to_str().expect("text");
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "style-src 'self';",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["referrer-policy"], "no-referrer");
        let bytes = plain.bytes().await.expect("a body");
        let packed = get(path, "accept-encoding", "gzip").await;
        assert_eq!(packed.headers()["content-encoding"], "gzip");
        let packed = packed.bytes().await.expect("a body");
        assert!(packed.starts_with(&[0x1f, 0x8b]) && packed.len() < bytes.len() + 64);
        let etag = headers["etag"].to_str().expect("text");
        let again = get(path, "if-none-match", etag).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }
    let index = get("/", "accept-encoding", "identity").await;
    let index = index.text().await.expect("text");
    assert!(
        !index.contains("<style") && !index.contains("style="),
        "nothing inline: {index}"
    );
    assert!(
        index.matches("<script").count() == 1 && index.contains("src="),
        "{index}"
    );
    let absent = get("/page/other.js", "accept-encoding", "gzip").await;
    assert_eq!(absent.status(), StatusCode::NOT_FOUND);
    let odd = get("/page/%ff", "accept-encoding", "gzip").await;
    assert_eq!(odd.headers()["content-type"], "application/problem+json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_does_what_its_token_may_and_is_out_of_reach_of_scripts() {
    let app = App::start().await;
    let reader = app.client_with(1, &["webhooks:read"]).await;
    let mut browser = Browser::new(&app);
    let answer = browser.sign_in(&reader.token).await;
    let cookie = answer.headers()["set-cookie"].to_str().expect("text");
    for attribute in [
        "; HttpOnly",
        "; SameSite=Strict",
        "; Path=/",
        "; Max-Age=43200",
    ] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(
        cookie.starts_with(PLAIN) && !cookie.contains("Secure"),
        "{cookie}"
    );
    assert!(!cookie.contains(&reader.token), "the token is not in it");
    let (_, told) = json_of(answer).await;
    assert_eq!(
        (&told["client_id"], &told["scopes"]),
        (&json!(1), &json!(["webhooks:read"]))
    );

    assert_eq!(browser.get("/api/webhooks/list").await.0, StatusCode::OK);
    let (status, problem) = browser.get("/api/sessions").await;
    assert_eq!(
        (status, &problem["code"]),
        (StatusCode::FORBIDDEN, &json!("missing_scope"))
    );
    let (status, session) = browser.get("/api/page/session").await;
    assert_eq!(
        (status, &session["scopes"]),
        (StatusCode::OK, &json!(["webhooks:read"]))
    );
    // It is no token: beside nothing but a bearer header it is refused.
    let value = browser.cookie.strip_prefix(PLAIN).expect("its name");
    let as_bearer = http_client().get(format!("{}/api/webhooks/list", app.api));
    let as_bearer = as_bearer
        .bearer_auth(value)
        .send()
        .await
        .expect("an answer");
    assert_eq!(as_bearer.status(), StatusCode::UNAUTHORIZED);

    // Behind a proxy that ends TLS the browser says so.
    let request = browser
        .bare(Method::POST, "/api/page/session")
        .header("x-wahook-page", "1");
    let request = request.header("origin", app.api.replacen("http:", "https:", 1));
    let answer = request
        .json(&json!({"token": reader.token}))
        .send()
        .await
        .expect("an answer");
    let cookie = answer.headers()["set-cookie"].to_str().expect("text");
    assert!(
        cookie.starts_with(SECURE) && cookie.ends_with("; Secure"),
        "{cookie}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_other_sites_are_refused() {
    let app = App::start().await;
    let client = app.client(1).await;
    let browser = signed_in(&app, &client).await;
    let refused = async |request: RequestBuilder, what: &str| {
        let (status, problem) = json_of(request.send().await.expect("an answer")).await;
        assert_eq!(
            (status, &problem["code"]),
            (StatusCode::FORBIDDEN, &json!("cross_site")),
            "{what}"
        );
    };
    let path = "/api/webhooks/register";
    let body = json!({"phone_number": "4915112345678", "webhook_url": "http://127.0.0.1:9/"});
    let post = || browser.bare(Method::POST, path).json(&body);
    refused(
        post().header("origin", &app.api),
        "without the page's header",
    )
    .await;
    refused(post().header("x-wahook-page", "1"), "without an origin").await;
    let other = post()
        .header("x-wahook-page", "1")
        .header("origin", "https://evil.example");
    refused(other, "of another origin").await;
    let near = browser
        .request(Method::POST, path)
        .json(&body)
        .header("sec-fetch-site", "same-site");
    refused(near, "of a sister site").await;
    refused(
        browser.bare(Method::GET, "/api/webhooks/list"),
        "a plain link",
    )
    .await;
    refused(
        browser.bare(Method::DELETE, "/api/page/session"),
        "signing out",
    )
    .await;
    let sign_in = browser.bare(Method::POST, "/api/page/session");
    refused(sign_in.json(&json!({"token": client.token})), "signing in").await;
    assert_eq!(
        client.get("/api/webhooks/list").await["data"],
        json!([]),
        "nothing was done"
    );

    let own = browser
        .request(Method::POST, path)
        .json(&body)
        .header("sec-fetch-site", "same-origin");
    assert_eq!(
        own.send().await.expect("an answer").status(),
        StatusCode::CREATED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_ends_with_signing_out_and_with_its_token() {
    let app = App::start().await;
    let client = app.client(1).await;
    let browser = signed_in(&app, &client).await;
    let copy = signed_in(&app, &client).await;
    let out = browser
        .request(Method::DELETE, "/api/page/session")
        .send()
        .await
        .expect("an answer");
    assert_eq!(out.status(), StatusCode::NO_CONTENT);
    let cookies: Vec<_> = out.headers().get_all("set-cookie").iter().collect();
    assert!(
        cookies.iter().all(|cookie| cookie
            .to_str()
            .expect("text")
            .contains("=; Path=/; Max-Age=0;")),
        "{cookies:?}"
    );
    assert_eq!(cookies.len(), 2);
    // The browser still has it here, as a thief would.
    assert_eq!(
        browser.get("/api/webhooks/list").await.0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        copy.get("/api/webhooks/list").await.0,
        StatusCode::OK,
        "another sign-in goes on"
    );

    let list = app.command(&["token", "list"]).await;
    let id = list.split('\t').next().expect("an id");
    app.command(&["token", "revoke", id]).await;
    assert_eq!(
        copy.get("/api/webhooks/list").await.0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        copy.get("/api/page/session").await.0,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cookie_sees_its_own_client_and_wrong_ones_are_slowed() {
    let app = App::start().await;
    let ann = app.client(1).await;
    let bob = app.client(2).await;
    let webhook = ann.register("4915112345678", "http://127.0.0.1:9/").await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let anns = signed_in(&app, &ann).await;
    let mut bobs = signed_in(&app, &bob).await;
    assert_eq!(anns.get(&path).await.0, StatusCode::OK);
    assert_eq!(bobs.get(&path).await.0, StatusCode::NOT_FOUND);
    // What is sealed for one client opens for no other.
    bobs.cookie = bobs.cookie.replacen("=2.", "=1.", 1);
    assert_eq!(bobs.get(&path).await.0, StatusCode::UNAUTHORIZED);

    let mut guesser = Browser::new(&app);
    let mut is_slowed = false;
    for _ in 0..200 {
        let answer = guesser.sign_in("wahook_wrong").await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert!(!answer.headers().contains_key("set-cookie"));
        is_slowed = answer.headers().contains_key("connection");
        if is_slowed {
            break;
        }
    }
    assert!(is_slowed, "wrong tokens never were");
    bobs.cookie = format!("{PLAIN}1.AAAA");
    // One of three, since the limit has refilled while the last answer was held back.
    let mut is_slowed = false;
    for _ in 0..3 {
        let wrong = bobs.request(Method::GET, &path).send().await;
        let wrong = wrong.expect("an answer");
        assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
        is_slowed |= wrong.headers().contains_key("connection");
    }
    assert!(is_slowed, "wrong cookies are slowed alike");
    assert_eq!(anns.get(&path).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_there_is_no_page_and_no_cookie_counts() {
    let app = App::with(&[("API__PAGE", "false")]).await;
    let client = app.client(1).await;
    let mut browser = Browser::new(&app);
    assert_eq!(browser.get("/").await.0, StatusCode::NOT_FOUND);
    let answer = browser.sign_in(&client.token).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}
