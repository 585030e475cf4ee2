//! Who is let in, and to what.

use std::collections::{BTreeMap, BTreeSet};

use callbook::access::Role;
use callbook::access::tokens;
use reqwest::{Client, Method, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::support::client::incoming;
use crate::support::{ACCOUNT_SID, ADMIN_TOKEN, AUTH_TOKEN, CUSTOMER, Callbook, OURS, call_sid};

/// Callers of this one must say who they are.
const REAL: [(&str, &str); 3] =
    [("SIMULATE", "false"), ("TWILIO_ACCOUNT_SID", ACCOUNT_SID), ("TWILIO_AUTH_TOKEN", AUTH_TOKEN)];

/// A client that shows nothing by itself.
fn stranger() -> Client {
    callbook::outgoing::local().build().unwrap()
}

async fn token(callbook: &Callbook, name: &str, role: Role) -> String {
    let (_, secret) = tokens::create(&callbook.pool, name, role).await.unwrap();
    secret.expose_secret().to_owned()
}

/// Nobody is asked of Twilio.
async fn real() -> Callbook {
    let mut settings = REAL.to_vec();
    settings.push(("TWILIO_API_BASE_URL", "http://127.0.0.1:9"));
    settings.extend(
        ["RECONCILE_HOT_SECONDS", "RECONCILE_WARM_SECONDS", "RECONCILE_COLD_SECONDS"].map(|key| (key, "0")),
    );
    settings.push(("OWNED_PHONE_NUMBERS", OURS));
    Callbook::with(&settings).await
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap_or_default();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

/// Everything in the API, by the least role that may call it.
const ROUTES: [(&str, &str, Option<Role>); 49] = [
    ("GET", "/health", None),
    ("GET", "/livez", None),
    ("GET", "/readyz", None),
    ("GET", "/api/openapi.json", None),
    ("GET", "/api/session", None),
    ("POST", "/api/session", None),
    ("DELETE", "/api/session", None),
    ("GET", "/api/conversations", Some(Role::Viewer)),
    ("GET", "/api/conversations/active", Some(Role::Viewer)),
    ("GET", "/api/conversations/{id}", Some(Role::Viewer)),
    ("GET", "/api/conversations/{id}/messages", Some(Role::Viewer)),
    ("GET", "/api/conversations/{id}/moments", Some(Role::Viewer)),
    ("GET", "/api/conversations/{id}/state", Some(Role::Viewer)),
    ("GET", "/api/contacts/{id}", Some(Role::Viewer)),
    ("GET", "/api/calls", Some(Role::Viewer)),
    ("GET", "/api/calls/{sid}", Some(Role::Viewer)),
    ("GET", "/api/calls/{sid}/events", Some(Role::Viewer)),
    ("GET", "/api/calls/{sid}/explain", Some(Role::Viewer)),
    ("GET", "/api/recordings/{sid}/media", Some(Role::Viewer)),
    ("GET", "/api/stats", Some(Role::Viewer)),
    ("GET", "/api/sync/scorecard", Some(Role::Viewer)),
    ("GET", "/metrics", Some(Role::Viewer)),
    ("GET", "/events/calls", Some(Role::Viewer)),
    ("GET", "/events/stats", Some(Role::Viewer)),
    ("PATCH", "/api/conversations/{id}/state", Some(Role::Dispatcher)),
    ("POST", "/api/contacts", Some(Role::Dispatcher)),
    ("PATCH", "/api/contacts/{id}", Some(Role::Dispatcher)),
    ("POST", "/api/sync/today", Some(Role::Dispatcher)),
    ("POST", "/api/sync/recent", Some(Role::Dispatcher)),
    ("GET", "/api/projections", Some(Role::Engineer)),
    ("GET", "/api/rebuilds", Some(Role::Engineer)),
    ("POST", "/api/rebuilds", Some(Role::Engineer)),
    ("GET", "/api/rebuilds/{id}", Some(Role::Engineer)),
    ("GET", "/api/rebuilds/{id}/events", Some(Role::Engineer)),
    ("POST", "/api/rebuilds/{id}/cancel", Some(Role::Engineer)),
    ("GET", "/api/quarantine", Some(Role::Engineer)),
    ("POST", "/api/quarantine/retry", Some(Role::Engineer)),
    ("POST", "/api/quarantine/{key}/retry", Some(Role::Engineer)),
    ("GET", "/api/inbox", Some(Role::Engineer)),
    ("GET", "/api/inbox/{id}", Some(Role::Engineer)),
    ("POST", "/api/inbox/retry", Some(Role::Engineer)),
    ("POST", "/api/inbox/{id}/retry", Some(Role::Engineer)),
    ("GET", "/api/reconcile", Some(Role::Engineer)),
    ("POST", "/api/reconcile/{job}", Some(Role::Engineer)),
    ("GET", "/api/events", Some(Role::Engineer)),
    ("GET", "/api/tokens", Some(Role::Admin)),
    ("POST", "/api/tokens", Some(Role::Admin)),
    ("DELETE", "/api/tokens/{name}", Some(Role::Admin)),
    ("GET", "/api/docs", None),
];

/// Something that is there, so that a refusal is about the caller.
fn filled(path: &str, conversation: &str) -> String {
    path.replace("{id}", conversation)
        .replace("{sid}", &call_sid(1))
        .replace("{key}", &call_sid(1))
        .replace("{name}", "nobody")
}

/// What a caller who is let in is answered; everything that is no refusal of the caller.
fn is_let_in(status: u16) -> bool {
    !matches!(status, 401 | 403)
}

#[tokio::test]
async fn each_route_lets_in_whom_it_says_and_nobody_else() {
    let callbook = real().await;
    callbook.twilio().send("voice-inbound", &incoming(&call_sid(1), CUSTOMER, OURS)).await;
    callbook.settled().await;
    let list = callbook.get("/api/conversations").await;
    let conversation = list["conversations"][0]["id"].as_str().unwrap();

    let document = callbook.get("/api/openapi.json").await;
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let here: BTreeSet<(String, String)> = ROUTES
        .iter()
        .filter(|(_, path, _)| *path != "/api/docs")
        .map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(here, documented, "this table has every route of the document");

    let mut shown: BTreeMap<Option<Role>, Option<String>> = BTreeMap::from([(None, None)]);
    for role in Role::ALL {
        shown.insert(Some(role), Some(token(&callbook, role.as_str(), role).await));
    }
    for (method, path, needs) in ROUTES {
        let url = format!("{}{}", callbook.url, filled(path, conversation));
        for (role, token) in &shown {
            let mut request = stranger().request(method.parse().unwrap(), &url);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            match needs {
                // Signing in is for strangers, and says whether it knew the token.
                None => assert_ne!(status, 403, "{method} {path} as {role:?}"),
                Some(needs) if *role >= Some(needs) => {
                    assert!(is_let_in(status), "{method} {path} as {role:?}: {status}");
                }
                Some(_) => {
                    let expected =
                        if role.is_none() { (401, "unauthenticated") } else { (403, "role-too-low") };
                    let (status, code) = code(response).await;
                    assert_eq!((status, &*code), expected, "{method} {path} as {role:?}");
                    let said = &document["paths"][path][method.to_lowercase()]["responses"];
                    assert!(said[status.to_string()].is_object(), "{method} {path} documents {status}");
                }
            }
        }
    }
    callbook.stop().await;
}

#[tokio::test]
async fn a_token_is_shown_once_and_lets_in_until_it_is_revoked() {
    let callbook = real().await;
    let url = |path: &str| format!("{}{path}", callbook.url);
    let ask = async |token: &str| {
        code(stranger().get(url("/api/conversations")).bearer_auth(token).send().await.unwrap()).await
    };
    assert_eq!(code(stranger().get(url("/api/conversations")).send().await.unwrap()).await.0, 401);
    assert_eq!(ask("callbook_nobody-made-this").await, (401, "unauthenticated".to_owned()));
    let refused = stranger().get(url("/api/conversations")).basic_auth("a", Some("b")).send().await.unwrap();
    assert_eq!(refused.headers()["www-authenticate"], "Bearer realm=\"callbook\"");

    let admin = |request: RequestBuilder| request.bearer_auth(ADMIN_TOKEN);
    let new = json!({ "name": "reporting", "role": "viewer" });
    let made = admin(stranger().post(url("/api/tokens"))).json(&new).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made: Value = made.json().await.unwrap();
    let secret = made["token"].as_str().unwrap();
    assert_eq!(ask(secret).await.0, 200);
    let again = admin(stranger().post(url("/api/tokens"))).json(&new).send().await.unwrap();
    assert_eq!(code(again).await, (409, "name-taken".to_owned()));

    let listed: Value = admin(stranger().get(url("/api/tokens"))).send().await.unwrap().json().await.unwrap();
    assert_eq!(listed["tokens"][0]["name"], "reporting");
    assert!(!listed.to_string().contains(secret), "it is kept nowhere");
    let kept: Vec<Vec<u8>> =
        sqlx::query_scalar("select digest from api_tokens").fetch_all(&callbook.pool).await.unwrap();
    assert!(kept.iter().all(|digest| digest.len() == 32 && digest != secret.as_bytes()));
    while callbook.count("select count(*) from api_tokens where last_used_at is not null").await == 0 {}

    let revoked = admin(stranger().delete(url("/api/tokens/reporting"))).send().await.unwrap();
    assert_eq!(revoked.status(), 200);
    assert_eq!(ask(secret).await, (401, "unauthenticated".to_owned()));
    assert_eq!(
        code(admin(stranger().delete(url("/api/tokens/reporting"))).send().await.unwrap()).await.0,
        404
    );
    // The name is free again.
    assert_eq!(admin(stranger().post(url("/api/tokens"))).json(&new).send().await.unwrap().status(), 201);
    callbook.stop().await;
}

/// The cookie that an answer sets, as a browser sends it back.
fn cookie(response: &Response) -> String {
    let set = response.headers()["set-cookie"].to_str().unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(part), "{set}");
    }
    set.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_browser_signs_in_with_a_token_and_out_again() {
    let callbook = real().await;
    let url = |path: &str| format!("{}{path}", callbook.url);
    let secret = token(&callbook, "anna", Role::Dispatcher).await;
    let sign_in = async |token: &str| {
        stranger().post(url("/api/session")).json(&json!({ "token": token })).send().await.unwrap()
    };
    assert_eq!(code(sign_in("callbook_wrong").await).await, (401, "unauthenticated".to_owned()));

    let signed_in = sign_in(&secret).await;
    assert_eq!(signed_in.status(), 200);
    let session = cookie(&signed_in);
    assert!(!session.contains(&secret), "the token itself is not in the cookie");
    let with = |method: Method, path: &str, cookie: &str| {
        stranger().request(method, url(path)).header("cookie", cookie)
    };
    let who: Value = with(Method::GET, "/api/session", &session).send().await.unwrap().json().await.unwrap();
    assert_eq!(who["caller"], json!({ "name": "anna", "role": "dispatcher" }));
    assert_eq!(who["sign_in_required"], true);
    assert_eq!(with(Method::GET, "/api/conversations", &session).send().await.unwrap().status(), 200);
    assert_eq!(with(Method::GET, "/api/tokens", &session).send().await.unwrap().status(), 403);

    // What the page of another site has the browser do.
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://elsewhere.example")] {
        let forged =
            with(Method::POST, "/api/sync/recent", &session).header(name, value).send().await.unwrap();
        assert_eq!(code(forged).await, (403, "cross-site".to_owned()), "{name}");
        let forged = with(Method::DELETE, "/api/session", &session).header(name, value).send().await.unwrap();
        assert_eq!(forged.status(), 403);
    }
    let ours = with(Method::POST, "/api/sync/recent", &session)
        .header("origin", &callbook.url)
        .send()
        .await
        .unwrap();
    assert_eq!(ours.status(), 502, "it is let in, and there is nobody to ask");

    let out = with(Method::DELETE, "/api/session", &session).send().await.unwrap();
    assert_eq!(out.status(), 204);
    assert_eq!(cookie(&out), "callbook_session=");
    assert_eq!(with(Method::GET, "/api/conversations", &session).send().await.unwrap().status(), 401);

    // A token that is revoked ends the sessions that were signed in with it.
    let session = cookie(&sign_in(&secret).await);
    let access = &callbook.app.state.access;
    let caller = access.by_token(&secret.clone().into()).await.unwrap().unwrap();
    assert!(access.still_admits(&caller).await.unwrap());
    tokens::revoke(&callbook.pool, "anna").await.unwrap();
    assert!(!access.still_admits(&caller).await.unwrap(), "a stream that is open ends");
    assert_eq!(with(Method::GET, "/api/conversations", &session).send().await.unwrap().status(), 401);
    // One of the environment's token ends with that.
    let session = cookie(&sign_in(ADMIN_TOKEN).await);
    assert_eq!(with(Method::GET, "/api/tokens", &session).send().await.unwrap().status(), 200);
    sqlx::query("update sessions set expires_at = clock_timestamp()").execute(&callbook.pool).await.unwrap();
    assert_eq!(with(Method::GET, "/api/tokens", &session).send().await.unwrap().status(), 401);
    callbook.stop().await;
}

#[tokio::test]
async fn a_session_that_is_signed_out_or_has_expired_ends_its_streams() {
    let callbook = real().await;
    let access = &callbook.app.state.access;
    let anna = SecretString::from(token(&callbook, "anna", Role::Dispatcher).await);
    for token in [anna, ADMIN_TOKEN.into()] {
        let signed_in = async || {
            let secret = access.sign_in(&token).await.unwrap().unwrap().secret;
            let caller = access.by_session(&secret).await.unwrap().unwrap();
            assert!(access.still_admits(&caller).await.unwrap());
            (secret, caller)
        };
        let (secret, gone) = signed_in().await;
        let (_, stays) = signed_in().await;
        access.sign_out(&secret).await.unwrap();
        assert!(!access.still_admits(&gone).await.unwrap());
        assert!(access.still_admits(&stays).await.unwrap(), "another browser of theirs");
        let by_token = access.by_token(&token).await.unwrap().unwrap();
        assert!(access.still_admits(&by_token).await.unwrap(), "a program with the token itself");
        sqlx::query("update sessions set expires_at = clock_timestamp()")
            .execute(&callbook.pool)
            .await
            .unwrap();
        assert!(!access.still_admits(&stays).await.unwrap());
    }
    callbook.stop().await;
}

#[tokio::test]
async fn a_simulated_callbook_that_only_this_machine_reaches_asks_nobody_who_they_are() {
    let callbook = Callbook::start().await;
    let who: Value =
        stranger().get(format!("{}/api/session", callbook.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        who,
        json!({
            "sign_in_required": false, "simulated": true, "caller": { "name": "anybody", "role": "admin" }
        })
    );
    let open = stranger().get(format!("{}/api/tokens", callbook.url)).send().await.unwrap();
    assert_eq!(open.status(), 200);
    // What the page of another site has somebody's browser do here, also where it gives this address a name of its own.
    for (name, value) in [("origin", "https://elsewhere.example"), ("host", "elsewhere.example")] {
        let forged = stranger().post(format!("{}/api/sync/recent", callbook.url)).header(name, value);
        assert_eq!(code(forged.send().await.unwrap()).await, (401, "unauthenticated".to_owned()), "{name}");
    }
    // Whoever says who they are is held to it.
    let viewer = token(&callbook, "viewer", Role::Viewer).await;
    let held =
        stranger().get(format!("{}/api/tokens", callbook.url)).bearer_auth(viewer).send().await.unwrap();
    assert_eq!(held.status(), 403);
    callbook.stop().await;
}

#[tokio::test]
async fn a_field_that_cannot_be_used_is_named_by_its_pointer() {
    let callbook = Callbook::start().await;
    let post = async |body: &str, content_type: &str| {
        let request = stranger().post(format!("{}/api/tokens", callbook.url));
        let response =
            request.header("content-type", content_type).body(body.to_owned()).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    for (body, status, code, pointer) in [
        (r#"{"name":"a","role":"king"}"#, 400, "wrong-field", Some("/role")),
        (r#"{"name":1,"role":"viewer"}"#, 400, "wrong-field", Some("/name")),
        (r#"{"name":"","role":"viewer"}"#, 400, "wrong-field", Some("/name")),
        (r#"{"name":"a\u0000b","role":"viewer"}"#, 400, "wrong-field", Some("/name")),
        (r#"{"name":"a","role":"viewer","x":1}"#, 400, "wrong-field", Some("/x")),
        (r#"{"name":"a"}"#, 400, "wrong-field", Some("")),
        (r#"{"name":"#, 400, "unreadable-json", None),
    ] {
        let (found, problem) = post(body, "application/json").await;
        assert_eq!((found, &problem["code"]), (status, &json!(code)), "{body}: {problem}");
        assert_eq!(problem.get("pointer").and_then(Value::as_str), pointer, "{body}");
    }
    assert_eq!(post("{}", "text/plain").await.1["code"], "unsupported-media-type");
    let large = format!(r#"{{"name":"{}","role":"viewer"}}"#, "a".repeat(300_000));
    assert_eq!(post(&large, "application/json").await.1["code"], "payload-too-large");
    callbook.stop().await;
}

#[tokio::test]
async fn a_page_of_a_configured_origin_may_ask_with_a_token() {
    let callbook = Callbook::with(&[("CORS_ALLOWED_ORIGINS", "https://desk.example.com")]).await;
    for (path, method) in [("/api/conversations", "GET"), ("/api/contacts/1", "PATCH")] {
        let asked_before = stranger()
            .request(Method::OPTIONS, format!("{}{path}", callbook.url))
            .header("origin", "https://desk.example.com")
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "authorization");
        let answer = asked_before.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{method} {path}");
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://desk.example.com");
        assert!(answer.headers()["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
    }
    callbook.stop().await;
}
