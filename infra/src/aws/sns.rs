//! Messages through SNS: to people by a standard topic, to machines by an ordered one.
//!
//! A standard topic gets one message in several forms (`MessageStructure=json`): a text of one SMS,
//! a long one for e-mail, JSON for queues and functions. An ordered topic (its name ends with
//! `.fifo`) gets the JSON, a group within which order holds, and an id by which SNS drops what it
//! has seen in the last five minutes.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_sns::Client;
use aws_sdk_sns::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sns::operation::publish::PublishError;
use aws_sdk_sns::types::MessageAttributeValue;
use scaler::ports::{Message, Notifier, NotifyError};
use serde_json::json;
use tokio::sync::OnceCell;

use super::connection::{self, Repeats};
use super::topic::SnsSettings;
use crate::record;

/// For events and metrics.
const NAME: &str = "sns";

/// Characters of a subject (API reference of SNS, `Publish`).
const SUBJECT: usize = 99;

/// Characters of a group or deduplication id (same page).
const ID: usize = 128;

/// One SMS: places of the GSM alphabet, or units of UTF-16 if any letter is beyond it.
const SMS: (usize, usize) = (160, 70);

/// Codes after which no further try helps: somebody must change something.
const FINAL: [&str; 11] = [
    "AccessDenied",
    "AuthorizationError",
    "EndpointDisabled",
    "InvalidClientTokenId",
    "InvalidParameter",
    "InvalidSecurity",
    "KMSAccessDenied",
    "KMSDisabled",
    "KMSNotFound",
    "NotFound",
    "SignatureDoesNotMatch",
];

/// Publishes to one topic.
pub struct SnsNotifier {
    settings: Arc<SnsSettings>,
    /// Made with the first message: looking for credentials may take time.
    client: OnceCell<Client>,
}

impl SnsNotifier {
    /// Touches no network yet.
    pub fn new(settings: SnsSettings) -> SnsNotifier {
        SnsNotifier { settings: Arc::new(settings), client: OnceCell::new() }
    }

    async fn client(&self) -> &Client {
        let connect = || async {
            Client::new(&connection::connect(&self.settings.place, Repeats::Sdk).await)
        };
        self.client.get_or_init(connect).await
    }
}

#[async_trait]
impl Notifier for SnsNotifier {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn tell(&self, message: &Message) -> Result<(), NotifyError> {
        let settings = &self.settings;
        let publish = self.client().await.publish().topic_arn(settings.topic.as_str());
        let publish = publish.set_message_attributes(Some(attributes(settings, message)));
        let publish = match settings.topic.is_ordered() {
            true => publish
                .message(record::of(message).to_string())
                .message_group_id(group_id(settings, message))
                .message_deduplication_id(dedup_id(settings, message)),
            false => publish.message(forms(message)).message_structure("json").subject(cut(
                &clean(&message.title),
                SUBJECT,
                |_| 1,
            )),
        };
        publish.send().await.map(drop).map_err(|error| sorted(&error))
    }
}

/// By what follows: another try, or none.
fn sorted(error: &SdkError<PublishError>) -> NotifyError {
    let text = connection::plain(error);
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    let code = code.strip_suffix("Exception").unwrap_or(code);
    match FINAL.contains(&code) {
        true => NotifyError::Never { notifier: NAME, reason: text },
        false => NotifyError::Later { notifier: NAME, source: text.into() },
    }
}

type Attributes = std::collections::HashMap<String, MessageAttributeValue>;

fn attributes(settings: &SnsSettings, message: &Message) -> Attributes {
    let value = |name: &str| match name {
        "severity" => Some(message.severity.word().to_owned()),
        "state" => Some(message.state.word().to_owned()),
        "site" => Some(message.site.to_string()),
        "pool" => message.pool.as_ref().map(ToString::to_string),
        "kind" => Some(message.kind.to_string()),
        _ => None,
    };
    let attribute = |name: &String| {
        let text = value(name).filter(|text| !text.is_empty())?;
        let built = MessageAttributeValue::builder().data_type("String").string_value(text).build();
        Some((name.clone(), built.ok()?))
    };
    settings.attributes.iter().filter_map(attribute).collect()
}

/// The same in each form that a subscription may want.
fn forms(message: &Message) -> String {
    let record = record::of(message).to_string();
    let long = format!("{}\n\n{}", message.title, message.text);
    let forms = json!({
        "default": long,
        "email": long,
        "sms": short(message),
        "sqs": record,
        "lambda": record,
        "http": record,
        "https": record,
    });
    forms.to_string()
}

/// One SMS: more than one costs more, and arrives in pieces.
fn short(message: &Message) -> String {
    let title = clean(&message.title);
    match title.chars().all(|c| septets(c).is_some()) {
        true => cut(&title, SMS.0, |c| septets(c).unwrap_or_default()),
        false => cut(&title, SMS.1, char::len_utf16),
    }
}

/// Places that a letter takes in the GSM alphabet (3GPP TS 23.038 §6.2.1), of which only what is
/// ASCII too is used here; a back-quote is not in it.
fn septets(letter: char) -> Option<usize> {
    match letter {
        '`' => None,
        '^' | '{' | '}' | '\\' | '[' | '~' | ']' | '|' => Some(2),
        letter => letter.is_ascii().then_some(1),
    }
}

fn group_id(settings: &SnsSettings, message: &Message) -> String {
    let pool = message.pool.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let text = settings.group_id.replace("{site}", &message.site).replace("{pool}", &pool);
    tail(&text)
}

fn dedup_id(settings: &SnsSettings, message: &Message) -> String {
    let sequence = message.sequence.to_string();
    let text =
        settings.dedup_id.replace("{alert}", &message.key).replace("{state}", message.state.word());
    tail(&text.replace("{sequence}", &sequence))
}

/// The end of an id tells more than its beginning: numbers stand there.
fn tail(text: &str) -> String {
    let letters: Vec<char> = text.chars().filter(char::is_ascii_graphic).collect();
    letters[letters.len().saturating_sub(ID)..].iter().collect()
}

fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// At most as wide as that.
fn cut(text: &str, most: usize, width: impl Fn(char) -> usize) -> String {
    if text.chars().map(&width).sum::<usize>() <= most {
        return text.to_owned();
    }
    let mut left = most - 3;
    let fits = |letter: &char| {
        let fits = width(*letter) <= left;
        left = left.saturating_sub(width(*letter));
        fits
    };
    text.chars().take_while(fits).collect::<String>() + "..."
}

#[cfg(test)]
mod tests;
