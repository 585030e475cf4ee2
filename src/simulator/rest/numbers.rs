//! `IncomingPhoneNumbers`: the account's own (CONTRACT §4.6).

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::calls::formatted;
use super::envelope::{Listing, Span};
use super::error::ApiError;
use super::{VERSION, resource_uri};
use crate::simulator::script::rfc_2822;
use crate::simulator::world::{OwnedNumber, Resource, Shelf, World};

pub async fn list(
    State(world): State<World>,
    Listing { query, paging }: Listing,
) -> Result<Response, ApiError> {
    let asked = query.get("PhoneNumber").filter(|number| !number.is_empty());
    let mut shelf = Shelf::default();
    world.numbers().iter().cloned().for_each(|owned| shelf.insert(owned));
    let page = paging.cut(&shelf, Span::default(), |owned| {
        asked.is_none_or(|asked| owned.number.contains(asked)).then(|| shown(owned, &world))
    })?;
    Ok(paging.answer("incoming_phone_numbers", &page))
}

fn shown(owned: &OwnedNumber, world: &World) -> Value {
    let created = rfc_2822(owned.created_at());
    json!({
        "sid": owned.sid(),
        "account_sid": world.account().sid,
        "phone_number": owned.number,
        "friendly_name": formatted(&owned.number),
        "capabilities": { "voice": true, "sms": true, "mms": true, "fax": false },
        "voice_url": null,
        "voice_method": "POST",
        "voice_fallback_url": null,
        "voice_fallback_method": "POST",
        "voice_caller_id_lookup": false,
        "voice_application_sid": null,
        "voice_receive_mode": "voice",
        "status_callback": null,
        "status_callback_method": "POST",
        "sms_url": null,
        "sms_method": "POST",
        "sms_fallback_url": null,
        "sms_fallback_method": "POST",
        "sms_application_sid": null,
        "trunk_sid": null,
        "address_sid": null,
        "address_requirements": "none",
        "identity_sid": null,
        "bundle_sid": null,
        "emergency_status": "Inactive",
        "emergency_address_sid": null,
        "emergency_address_status": "unregistered",
        "origin": "twilio",
        "beta": false,
        "status": "in-use",
        "type": "local",
        "date_created": created,
        "date_updated": created,
        "api_version": VERSION,
        "uri": resource_uri(world, &format!("IncomingPhoneNumbers/{}.json", owned.sid())),
    })
}
