use proptest::prelude::*;

use super::*;

fn number(text: &str) -> Identity {
    Identity::Number(PhoneNumber::try_new(text).unwrap())
}

fn sip(user: Option<&str>, host: &str) -> Identity {
    Identity::Sip(SipUri { user: user.map(str::to_owned), host: host.to_owned() })
}

fn caller(raw: &str) -> Identity {
    Address::caller(raw).identity
}

#[test]
fn the_seeds_numbers_read_and_display_as_the_seeds_write_them() {
    let number = PhoneNumber::try_new("+15085140320").unwrap();
    assert_eq!(number.as_str(), "+15085140320");
    assert_eq!(number.display(), "+1 (508) 514-0320");
    assert_eq!(number.country().as_deref(), Some("US"));
    assert_eq!(Address::caller("sip:+15085140320@x").identity, Identity::Number(number));
    assert_eq!(
        Address::callee("sip:dispatcher@abchomes.sip.us1.twilio.com").display(),
        "sip:dispatcher@abchomes.sip.us1.twilio.com"
    );
}

#[test]
fn every_spelling_of_a_number_is_one_number() {
    for raw in [
        "+15085140320",
        " 15085140320",
        " 1 (508) 514-0320",
        "15085140320",
        "5085140320",
        "+1 (508) 514-0320",
        "(508) 514-0320",
        "508.514.0320",
        "1-508-514-0320",
        "+15085140320 ",
        "sip:+15085140320@x",
        "sips:+15085140320@pbx.example:5061;transport=tls",
        "SIP:%2B15085140320@PBX.EXAMPLE?X-Foo=bar",
        "sip:%2b1-508-514-0320;phone-context=example.com@10.0.0.1",
        "sip:15085140320@[2001:db8::1]:5060",
        "sip:5085140320@pbx.example",
        "sip: 15085140320@pbx.example",
        "sip:+15085140320:secret@pbx.example",
        "sip:+15085140320",
    ] {
        assert_eq!(caller(raw), number("+15085140320"), "{raw:?}");
        assert_eq!(Address::callee(raw).display(), "+1 (508) 514-0320", "{raw:?}");
    }
}

#[test]
fn numbers_of_other_countries_use_the_international_format() {
    for (text, display, country) in [
        ("+442079460958", "+44 20 7946 0958", "GB"),
        ("+551135892112", "+55 11 3589-2112", "BR"),
        ("+390612345678", "+39 06 1234 5678", "IT"),
        ("+4915112345678", "+49 1511 2345678", "DE"),
        ("+14165550123", "+1 (416) 555-0123", "CA"),
    ] {
        let number = PhoneNumber::try_new(text).unwrap();
        assert_eq!(number.as_str(), text);
        assert_eq!(number.display(), display);
        assert_eq!(number.country().as_deref(), Some(country), "{text}");
    }
}

#[test]
fn a_possible_number_in_no_assigned_range_is_a_number_without_a_country() {
    let number = PhoneNumber::try_new("+15555550142").unwrap();
    assert_eq!(number.display(), "+1 (555) 555-0142");
    assert_eq!(number.country(), None);
}

#[test]
fn a_trunk_prefix_inside_e164_is_dropped() {
    assert_eq!(caller("+44 (0)20 7946 0958"), number("+442079460958"));
    assert_eq!(caller("+115085140320"), number("+15085140320"));
}

#[test]
fn digits_that_are_no_number_are_malformed() {
    for raw in [
        "+",
        "+1",
        "+15",
        "+123",
        "++15085140320",
        "+1508514032012345678",
        "+999999999999",
        "1",
        "12",
        "1234567",
        "123456789",
        "25085140320",
        "123456789012",
        "+1508CALLNOW",
        "client:",
        "client: ",
        "sip:",
        "sips:@",
        "sip:bob@",
        "---",
        "\0",
    ] {
        assert_eq!(caller(raw), Identity::Malformed, "{raw:?}");
        assert_eq!(Address::callee(raw).identity, Identity::Malformed, "{raw:?}");
    }
}

#[test]
fn three_to_six_digits_are_a_short_code() {
    for raw in ["911", "4444", "12345", "123456", "123-456"] {
        let digits = raw.replace('-', "");
        assert_eq!(caller(raw), Identity::ShortCode(digits.clone()));
        assert_eq!(Address::callee(raw).display(), digits);
    }
}

#[test]
fn every_spelling_of_withheld_is_withheld() {
    for raw in [
        "anonymous",
        "Anonymous",
        "ANONYMOUS",
        "unknown",
        "restricted",
        "Restricted",
        "unavailable",
        "Unavailable",
        "blocked",
        "private",
        " Private ",
        "+266696687",
        "+86282452253",
        "+8656696",
        "+2562533",
        "+7378742833",
        "266696687",
        "86282452253",
        "8656696",
        "2562533",
        "7378742833",
        " 266696687",
        "sip:anonymous@anonymous.invalid",
        "sip:Anonymous@pbx.example",
        "sip:anonymous",
        "sips:x@Anonymous.Invalid",
        "sip:+266696687@pbx.example",
        "sip:7378742833@pbx.example;user=phone",
    ] {
        assert_eq!(caller(raw), Identity::Withheld, "{raw:?}");
        assert_eq!(Address::callee(raw).identity, Identity::Withheld, "{raw:?}");
        assert_eq!(Address::caller(raw).display(), "Withheld number");
    }
}

#[test]
fn an_ordinary_number_that_resembles_a_withheld_one_is_a_number() {
    assert_eq!(caller("+17378742833"), number("+17378742833"));
    assert_eq!(caller("Anonymous Inc"), Identity::Name("Anonymous Inc".into()));
    assert_eq!(caller("client:anonymous"), Identity::Client("anonymous".into()));
}

#[test]
fn an_empty_caller_withholds_and_an_empty_callee_is_nobody() {
    for raw in ["", " ", "\t\r\n", "\u{a0}"] {
        assert_eq!(Address::caller(raw), Address { identity: Identity::Withheld, raw: raw.to_owned() });
        assert_eq!(Address::callee(raw), Address { identity: Identity::Nobody, raw: raw.to_owned() });
    }
}

#[test]
fn a_client_keeps_its_identity() {
    assert_eq!(caller("client:alice"), Identity::Client("alice".into()));
    assert_eq!(caller("client:+15085140320"), Identity::Client("+15085140320".into()));
    assert_eq!(Address::callee("client:alice").display(), "client:alice");
}

#[test]
fn a_sip_uri_is_a_user_at_a_host_in_lower_case() {
    for (raw, expected, display) in [
        (
            "sip:dispatcher@ABCHomes.sip.us1.twilio.com",
            sip(Some("dispatcher"), "abchomes.sip.us1.twilio.com"),
            "sip:dispatcher@abchomes.sip.us1.twilio.com",
        ),
        (
            "sips:Bob@pbx.example:5061;transport=tls?X-Foo=bar",
            sip(Some("Bob"), "pbx.example"),
            "sip:Bob@pbx.example",
        ),
        ("sip:bob?x@pbx.example?X-Foo=bar", sip(Some("bob?x"), "pbx.example"), "sip:bob%3Fx@pbx.example"),
        ("sip:100@10.0.0.1", sip(Some("100"), "10.0.0.1"), "sip:100@10.0.0.1"),
        ("sip:+123@pbx.example", sip(Some("+123"), "pbx.example"), "sip:+123@pbx.example"),
        ("sip:pbx.example:5060", sip(None, "pbx.example"), "sip:pbx.example"),
        ("sip:@pbx.example", sip(None, "pbx.example"), "sip:pbx.example"),
        ("sip:bob@[2001:DB8::1]:5060", sip(Some("bob"), "[2001:db8::1]"), "sip:bob@[2001:db8::1]"),
        ("sip:bob@[2001:db8", sip(Some("bob"), "[2001"), "sip:bob@[2001"),
        ("sip:a%40b%zz%@pbx.example", sip(Some("a@b%zz%"), "pbx.example"), "sip:a%40b%25zz%25@pbx.example"),
        (
            "sip:%00%ff@pbx.example",
            sip(Some("\u{fffd}\u{fffd}"), "pbx.example"),
            "sip:\u{fffd}\u{fffd}@pbx.example",
        ),
    ] {
        let address = Address::callee(raw);
        assert_eq!(address.identity, expected, "{raw:?}");
        assert_eq!(address.display(), display);
    }
}

#[test]
fn anything_else_is_a_name() {
    for raw in ["ABC Homes", "1-800-FLOWERS", "whatsapp:+15085140320", "sim:DE0123456789", "żółw", "Bob\u{7}"]
    {
        assert_eq!(caller(raw), Identity::Name(raw.to_owned()));
    }
    assert_eq!(Address::caller("Bob\u{7}").display(), "Bob\u{fffd}");
}

#[test]
fn raw_text_is_kept_except_for_what_postgresql_cannot_store() {
    let address = Address::caller(" A\0b\u{1} ");
    assert_eq!(address.raw, " A\u{fffd}b\u{1} ");
    assert_eq!(address.identity, Identity::Name("A\u{fffd}b\u{1}".into()));
}

#[test]
fn of_two_reports_the_greater_says_more() {
    let reports = ["12", "anonymous", "12345", "Bob", "client:bob", "sip:bob@x", "+15085140320"];
    let addresses: Vec<Address> = reports.iter().map(|raw| Address::callee(raw)).collect();
    assert!(Address::callee("") < addresses[0]);
    assert!(addresses.is_sorted_by(|a, b| a < b), "{addresses:?}");
    assert!(Address::caller("5085140320") > Address::caller("+15085140320"), "then the raw text decides");
}

#[test]
fn an_error_says_what_is_wrong_with_the_text() {
    assert_eq!(PhoneNumber::try_new("bob"), Err(PhoneError::NotDigits("bob".into())));
    assert_eq!(PhoneNumber::try_new("514-0320"), Err(PhoneError::NotNational("514-0320".into())));
    assert_eq!(PhoneNumber::try_new("+123"), Err(PhoneError::NotPossible("+123".into())));
    assert_eq!(
        PhoneNumber::try_new("").unwrap_err().to_string(),
        r#""" is not a phone number: expected + and digits, such as +15085140320"#
    );
}

#[test]
fn the_json_of_an_address_is_pinned() {
    let json = |raw| serde_json::to_string(&Address::callee(raw)).unwrap();
    assert_eq!(json(""), r#"{"identity":"nobody","raw":""}"#);
    assert_eq!(json("911"), r#"{"identity":{"short_code":"911"},"raw":"911"}"#);
    assert_eq!(json("5085140320"), r#"{"identity":{"number":"+15085140320"},"raw":"5085140320"}"#);
    assert_eq!(json("sip:a@B"), r#"{"identity":{"sip":{"user":"a","host":"b"}},"raw":"sip:a@B"}"#);
}

#[test]
fn an_old_event_loads_whatever_today_s_numbering_plans_say() {
    assert!(PhoneNumber::try_new("+999123").is_err());
    assert_eq!(serde_json::from_str::<PhoneNumber>(r#""+999123""#).unwrap().as_str(), "+999123");
    for json in [r#""""#, r#""+""#, r#""15085140320""#, r#""+1 508""#, r#""+123456789012345678901""#] {
        assert!(serde_json::from_str::<PhoneNumber>(json).is_err(), "{json}");
    }
}

/// Text that looks like what stands in these fields more often than chance would have it.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[+ ]?[0-9]{0,20}",
        "[-+ ().0-9]{0,30}",
        "(sips?|SIP|client|whatsapp)?:?[+0-9a-zA-Z%@:;?\\[\\]. \\x00-\\x1f]{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_field_panics_and_every_address_survives_json(raw in field()) {
        for address in [Address::caller(&raw), Address::callee(&raw)] {
            prop_assert_eq!(&address.raw, &raw.replace('\0', "\u{FFFD}"));
            prop_assert!(!address.display().contains(char::is_control));
            let json = serde_json::to_string(&address).unwrap();
            prop_assert!(!json.contains("\\u0000"));
            prop_assert_eq!(serde_json::from_str::<Address>(&json).unwrap(), address);
        }
    }

    #[test]
    fn a_number_reads_back_as_itself_however_it_is_written(text in "[+]?[0-9]{1,20}") {
        if let Ok(number) = PhoneNumber::try_new(&text) {
            prop_assert_eq!(PhoneNumber::try_new(number.as_str()).unwrap(), number.clone());
            prop_assert_eq!(PhoneNumber::try_new(&number.display()).unwrap(), number.clone());
            let _ = number.country();
        }
    }

    #[test]
    fn a_sip_uri_reads_back_as_itself(user in "[ -~]{1,20}", host in "[a-z.]{1,20}") {
        let uri = SipUri { user: Some(user), host };
        prop_assert_eq!(SipUri::read(uri.to_string().strip_prefix("sip:").unwrap()), uri);
    }
}
