//! That the check can fail: each exchange here is one that was good, with one thing changed.

use serde_json::{Value, json};

use super::document::Document;
use super::proxy::Exchange;
use super::{CUSTOMER, CallFilter, CallWith, FAMILIES, MediaFormat, Overheard, RecordingFilter, call, sid};

/// What the client said and was told, each as in the name.
struct Good {
    list: Exchange,
    one: Exchange,
    created: Exchange,
    missing: Exchange,
    media: Exchange,
}

impl Good {
    async fn hear(document: &Document) -> Self {
        let overheard = Overheard::start().await;
        let (twilio, client) = (&overheard.twilio, &overheard.client);
        twilio.place_many(7, FAMILIES, twilio.now() - time::Duration::HOUR, time::Duration::minutes(30));
        let calls = client.calls(&CallFilter { page_size: Some(2), ..CallFilter::default() }).await.unwrap();
        client.call(&sid(&calls.resources[0]).parse().unwrap()).await.unwrap();
        client.create_call(&call(CUSTOMER, CallWith::Twiml("<Response/>".to_owned()))).await.unwrap();
        client.call(&super::call_sid(404).parse().unwrap()).await.unwrap_err();
        let recordings = client.recordings(&RecordingFilter::default()).await.unwrap();
        let recording = sid(&recordings.resources[0]).parse().unwrap();
        client.media(&recording, MediaFormat::Wav, None).await.unwrap();
        let seen: [Exchange; 6] = overheard.proxy.seen().try_into().unwrap();
        let [list, one, created, missing, _, media] = seen;
        for good in [&list, &one, &created, &missing, &media] {
            assert_eq!(document.check(good), Vec::<String>::new());
        }
        Self { list, one, created, missing, media }
    }
}

/// `good` but for a change is refused, among others for that reason.
fn refuses(document: &Document, good: &Exchange, because: &str, change: impl FnOnce(&mut Exchange)) {
    let mut exchange = good.clone();
    change(&mut exchange);
    let wrong = document.check(&exchange);
    assert!(wrong.iter().any(|wrong| wrong.contains(because)), "{because:?} is not among {wrong:?}");
}

fn answer(change: impl FnOnce(&mut Value)) -> impl FnOnce(&mut Exchange) {
    move |exchange| {
        let answer = exchange.answer.as_mut().unwrap();
        let mut body = answer.json().unwrap();
        change(&mut body);
        answer.body = body.to_string().into();
    }
}

fn form(exchange: &Exchange) -> String {
    String::from_utf8(exchange.body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_request_that_the_document_does_not_allow_is_noticed() {
    let Some(document) = Document::open() else { return };
    let good = Good::hear(&document).await;
    let list = |because, change: fn(&mut Exchange)| refuses(&document, &good.list, because, change);
    list("the query parameter StartedAfter is not declared", |list| {
        list.query.push_str("&StartedAfter=2026-01-01");
    });
    list("\"ended\" is not one of", |list| list.query.push_str("&Status=ended"));
    list("1001 is greater than the maximum", |list| list.query = "PageSize=1001".to_owned());
    list("\"many\" is not of type \"integer\"", |list| list.query = "PageSize=many".to_owned());
    list("\"yesterday\" is not a \"date-time\"", |list| list.query.push_str("&StartTime%3E=yesterday"));
    list("the query parameter StartTime>2026 is not declared", |list| {
        list.query.push_str("&StartTime%3E2026=01-01");
    });
    list("the query parameter PageSize is there twice", |list| list.query.push_str("&PageSize=3"));
    list("does not match", |list| list.query.push_str("&ParentCallSid=CA1"));
    list("/Callz.json is not in the document", |list| list.path = list.path.replace("Calls", "Callz"));
    list("PUT is not a method", |list| list.method = "PUT".to_owned());
    list("it has a body, and takes none", |list| list.body = "To=1".into());
    list("it has no credentials", |list| list.has_credentials = false);

    let one = |because, change: fn(&mut Exchange)| refuses(&document, &good.one, because, change);
    one("Sid: : \"CA12\" does not match", |one| {
        one.path = one.path.rsplit_once('/').unwrap().0.to_owned() + "/CA12.json";
    });
    one("AccountSid: ", |one| one.path = one.path.replace("/AC0", "/AD0"));
    refuses(&document, &good.media, "Sid: ", |media| media.path = media.path.replace("/RE", "/CA"));
    refuses(&document, &good.media, "by its path alone", |media| media.query = "Download=true".to_owned());
}

#[tokio::test]
async fn a_form_that_the_document_does_not_allow_is_noticed() {
    let Some(document) = Document::open() else { return };
    let good = Good::hear(&document).await;
    assert!(form(&good.created).contains("StatusCallbackEvent=answered"), "a field that is a list");
    let created = |because, change: fn(String) -> String| {
        refuses(&document, &good.created, because, |created| created.body = change(form(created)).into());
    };
    created("\"To\" is a required property", |form| form.replace("To=", "Url="));
    created("'When' was unexpected", |form| form + "&When=now");
    created("\"soon\" is not of type \"integer\"", |form| form.replace("Timeout=25", "Timeout=soon"));
    created("\"PUT\" is not one of", |form| form + "&Method=PUT");
    created("\"/status\" is not a \"uri\"", |form| form + "&FallbackUrl=/status");
    created("does not match", |form| form + "&ApplicationSid=AP1");
    created("the field From is there twice", |form| form + "&From=%2B16175006181");
    created("none of Url, Twiml, ApplicationSid is there", |form| form.replace("Twiml=", "CallReason="));
    refuses(&document, &good.created, "its body is", |created| {
        created.content_type = Some("application/json".to_owned());
    });
}

#[tokio::test]
async fn an_answer_that_the_document_does_not_describe_is_noticed() {
    let Some(document) = Document::open() else { return };
    let good = Good::hear(&document).await;
    let one = |because, change: fn(&mut Value)| refuses(&document, &good.one, because, answer(change));
    one("/duration: 15 is not of types", |call| call["duration"] = json!(15));
    one("'annotation' was unexpected", |call| call["annotation"] = Value::Null);
    one("\"queue_time\" is a required property", |call| {
        drop(call.as_object_mut().unwrap().remove("queue_time"))
    });
    one("/status: \"initiated\" is not one of", |call| call["status"] = json!("initiated"));
    one("/status: null is not", |call| call["status"] = Value::Null);
    one("/sid: \"CA1\" does not match", |call| call["sid"] = json!("CA1"));
    one("/price_unit: \"dollars\" is not a \"currency\"", |call| call["price_unit"] = json!("dollars"));
    one("is not a \"date-time-rfc-2822\"", |call| call["start_time"] = json!("2026-02-08T06:00:00Z"));
    one("/Calls/1.json: Sid: ", |call| call["uri"] = json!("/2010-04-01/Accounts/AC1/Calls/1.json"));
    one("/Calls/1/Payloads.json is not in the document", |call| {
        call["subresource_uris"]["payloads"] = json!("/2010-04-01/Accounts/AC1/Calls/1/Payloads.json");
    });
    refuses(&document, &good.one, "the status 203 is not declared", |one| {
        one.answer.as_mut().unwrap().status = 203;
    });
    refuses(&document, &good.one, "and not JSON", |one| {
        one.answer.as_mut().unwrap().content_type = Some("text/html".to_owned());
    });

    let list = |because, change: fn(&mut Value)| refuses(&document, &good.list, because, answer(change));
    list("/page_size: \"2\" is not of type", |page| page["page_size"] = json!("2"));
    list("\"next_page_uri\" is a required property", |page| {
        page.as_object_mut().unwrap().remove("next_page_uri");
    });
    list("'total' was unexpected", |page| page["total"] = json!(2));
    list("the query parameter After is not declared", |page| {
        page["next_page_uri"] = json!(format!("{}&After=1", page["uri"].as_str().unwrap()));
    });
    list("/calls/*: Additional properties are not allowed ('meta' was unexpected", |page| {
        page["calls"][1]["meta"] = json!({})
    });

    let missing = |because, change: fn(&mut Value)| {
        refuses(&document, &good.missing, because, answer(change));
    };
    missing("\"code\" is a required property", |error| drop(error.as_object_mut().unwrap().remove("code")));
    missing("is not about 20003", |error| error["code"] = json!(20_003));
    missing("404 was expected", |error| error["status"] = json!(400));
    missing("'title' was unexpected", |error| error["title"] = json!("Not found"));
    refuses(&document, &good.media, "media is", |media| {
        media.answer.as_mut().unwrap().content_type = Some("application/json".to_owned());
    });
}
