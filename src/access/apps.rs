//! Keys of single applications, as OctoPrint's "application keys": each may operate printers and no more, is known here by
//! its digest only, and can be taken back alone (octoprint.md section 10).
//!
//! An application asks and waits; a person with the role of an admin decides. Who is an admin already gets such a key at
//! once: it gives less than the caller has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use data_encoding::HEXLOWER;
use rand::RngCore;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Access, AccessError, AccessEvent, Identity, now};
use crate::model::text::one_line;
use crate::secret::Secret;
use crate::store::Store;

/// Space of the store with one record per key.
const SPACE: &str = "app_keys";
/// Keys that are kept at most.
const MOST: usize = 100;
/// Questions that may be open at once: of everybody, and of one address.
const QUESTIONS: usize = 16;
const QUESTIONS_OF_ONE: usize = 4;
/// A question is open for so long, if the application goes on asking for the answer.
const OPEN: Duration = Duration::from_secs(300);
const UNWATCHED: Duration = Duration::from_secs(60);
const LONGEST_NAME: usize = 64;

/// What is stored of a key.
#[derive(Clone, Serialize, Deserialize)]
struct Record {
    app: String,
    /// SHA-256 of the key, in hex.
    digest: String,
    created_on: f64,
}

struct Question {
    app: String,
    /// Names the question towards those who decide; the application itself never learns it.
    decision: String,
    address: Option<IpAddr>,
    asked: Instant,
    watched: Instant,
    answer: Option<Result<Secret, ()>>,
}

impl Question {
    fn open(&self) -> bool {
        self.asked.elapsed() < OPEN && self.watched.elapsed() < UNWATCHED
    }
}

/// Keys by their id, questions by the token of the application.
#[derive(Default)]
pub(super) struct Apps {
    keys: Mutex<HashMap<String, Record>>,
    questions: Mutex<HashMap<String, Question>>,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq)]
pub enum AppAnswer {
    Open,
    /// Told once.
    Granted(Secret),
    /// Refused, too old, or never asked.
    None,
}

/// A question as those see it who decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppQuestion {
    pub app: String,
    pub decision: String,
    pub address: Option<IpAddr>,
}

/// A key without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct AppKey {
    pub id: String,
    pub app: String,
    /// Seconds since 1970.
    pub created_on: f64,
}

impl Apps {
    pub fn load(store: &Store) -> Self {
        let stored = store.list(SPACE).unwrap_or_else(|error| {
            tracing::error!(%error, "The keys of applications cannot be read; none of them is accepted.");
            Vec::new()
        });
        let record = |(id, value)| Some((id, serde_json::from_value(value).ok()?));
        Self { keys: Mutex::new(stored.into_iter().filter_map(record).collect()), ..Self::default() }
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<String, Record>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn questions(&self) -> MutexGuard<'_, HashMap<String, Question>> {
        let mut questions = self.questions.lock().unwrap_or_else(PoisonError::into_inner);
        questions.retain(|_, question| question.open());
        questions
    }

    /// The application that shows this key.
    pub fn identify(&self, shown: &str) -> Option<Identity> {
        let digest = digest(shown);
        // Digests of random keys tell nothing by the time it takes to compare them.
        let keys = self.keys();
        let (id, record) = keys.iter().find(|(_, record)| record.digest == digest)?;
        Some(Identity::App { id: id.as_str().into(), name: record.app.as_str().into() })
    }

    /// What passes of an application's key are signed with, and the name it goes by; `None` once it was taken back.
    pub fn seed(&self, id: &str) -> Option<(Vec<u8>, String)> {
        self.keys().get(id).map(|record| (record.digest.clone().into_bytes(), record.app.clone()))
    }

    pub fn knows(&self, id: &str) -> bool {
        self.keys().contains_key(id)
    }
}

impl Access {
    /// An application asks for a key; `tell` puts the question in front of people. Returns the token by which it asks
    /// for the answer.
    ///
    /// # Errors
    /// Without a name, or with too many questions open.
    pub fn ask_for_key(&self, app: &str, address: Option<IpAddr>, tell: bool) -> Result<String, AccessError> {
        let app = name(app)?;
        let mut questions = self.apps.questions();
        let of_one = questions.values().filter(|question| question.address == address).count();
        if questions.len() >= QUESTIONS || of_one >= QUESTIONS_OF_ONE {
            return Err(AccessError::TooMany(UNWATCHED.as_secs()));
        }
        let (token, now) = (random(), Instant::now());
        let question = Question {
            app: app.clone(),
            decision: random(),
            address,
            asked: now,
            watched: now,
            answer: None,
        };
        questions.insert(token.clone(), question);
        drop(questions);
        if tell {
            self.tell(AccessEvent::AppAsked { app, address });
        }
        Ok(token)
    }

    /// The name of a question towards those who decide.
    pub fn decision_of(&self, token: &str) -> Option<String> {
        self.apps.questions().get(token).map(|question| question.decision.clone())
    }

    /// What became of a question.
    pub fn key_answer(&self, token: &str) -> AppAnswer {
        let mut questions = self.apps.questions();
        let Some(question) = questions.get_mut(token) else { return AppAnswer::None };
        question.watched = Instant::now();
        match question.answer.clone() {
            None => AppAnswer::Open,
            Some(answer) => {
                questions.remove(token);
                answer.map_or(AppAnswer::None, AppAnswer::Granted)
            }
        }
    }

    /// Questions that nobody has decided.
    pub fn app_questions(&self) -> Vec<AppQuestion> {
        let questions = self.apps.questions();
        let open = questions.values().filter(|question| question.answer.is_none());
        let mut shown: Vec<AppQuestion> = open
            .map(|question| AppQuestion {
                app: question.app.clone(),
                decision: question.decision.clone(),
                address: question.address,
            })
            .collect();
        shown.sort_by(|a, b| (&a.app, &a.decision).cmp(&(&b.app, &b.decision)));
        shown
    }

    /// Answers a question; the caller has judged who decides.
    ///
    /// # Errors
    /// There is no such question any more, or the key cannot be stored.
    pub async fn decide_on_app(&self, decision: &str, allow: bool) -> Result<(), AccessError> {
        let gone = || AccessError::Invalid("This question is not open any more.".to_owned());
        let undecided = |question: &&mut Question| question.decision == decision && question.answer.is_none();
        let app = {
            let mut questions = self.apps.questions();
            questions.values_mut().find(undecided).ok_or_else(gone)?.app.clone()
        };
        let answer = if allow { Ok(self.app_key(&app).await?) } else { Err(()) };
        if let Some(question) = self.apps.questions().values_mut().find(undecided) {
            question.answer = Some(answer);
            return Ok(());
        }
        // It was withdrawn meanwhile: nobody would ever fetch this key.
        if let Ok(key) = answer
            && let Some(Identity::App { id, .. }) = self.apps.identify(key.expose())
        {
            self.revoke_app(&id).await?;
        }
        Err(gone())
    }

    /// Makes a key for an application.
    ///
    /// # Errors
    /// Without a name, with too many keys, or where it cannot be stored.
    pub async fn app_key(&self, app: &str) -> Result<Secret, AccessError> {
        let app = name(app)?;
        let (id, key) = (random(), random());
        let record = Record { app: app.clone(), digest: digest(&key), created_on: now() };
        let value = serde_json::to_value(&record).map_err(|error| AccessError::Failed(error.to_string()))?;
        {
            let mut keys = self.apps.keys();
            if keys.len() >= MOST {
                return Err(AccessError::Invalid(format!(
                    "There are {MOST} keys of applications already; take some of them back."
                )));
            }
            keys.insert(id.clone(), record);
        }
        if let Err(error) = self.store.put_durably(SPACE, &id, value).await {
            self.apps.keys().remove(&id);
            return Err(AccessError::Failed(error.to_string()));
        }
        self.tell(AccessEvent::AppAdmitted(app));
        Ok(Secret::new(key))
    }

    /// All keys, by application.
    pub fn app_keys(&self) -> Vec<AppKey> {
        let keys = self.apps.keys();
        let mut shown: Vec<AppKey> = keys
            .iter()
            .map(|(id, record)| AppKey {
                id: id.clone(),
                app: record.app.clone(),
                created_on: record.created_on,
            })
            .collect();
        shown.sort_by(|a, b| (&a.app, &a.id).cmp(&(&b.app, &b.id)));
        shown
    }

    /// Takes a key back, by its id or by itself; open sockets of it lose their rights at once.
    ///
    /// # Errors
    /// There is no such key, or the store cannot be written.
    pub async fn revoke_app(&self, key: &str) -> Result<(), AccessError> {
        let digest = digest(key);
        let id = {
            let mut keys = self.apps.keys();
            let found = keys.iter().find(|(id, record)| *id == key || record.digest == digest);
            let id = found.map(|(id, _)| id.clone());
            let id = id.ok_or_else(|| AccessError::Invalid("There is no such key.".to_owned()))?;
            keys.remove(&id);
            id
        };
        self.tell(AccessEvent::AppRevoked(id.clone()));
        let gone = match self.store.delete(SPACE, &id) {
            Ok(_) => self.store.flush().await,
            Err(error) => Err(error),
        };
        gone.map_err(|error| AccessError::Failed(error.to_string()))
    }
}

fn name(app: &str) -> Result<String, AccessError> {
    let app = one_line(app.trim(), LONGEST_NAME);
    if app.is_empty() { Err(AccessError::Invalid("Name the application.".to_owned())) } else { Ok(app) }
}

/// 128 random bits in hex.
fn random() -> String {
    let mut bytes = [0u8; 16];
    rand::rng().fill_bytes(&mut bytes);
    HEXLOWER.encode(&bytes)
}

fn digest(key: &str) -> String {
    HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, key.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::super::{AccessSettings, Role};
    use super::*;

    fn from(address: &str) -> Option<IpAddr> {
        address.parse().ok()
    }

    #[tokio::test]
    async fn a_key_is_made_by_a_decision_told_once_and_can_be_taken_back() {
        let store = Store::in_memory();
        let access = Access::open(AccessSettings::default(), &store);
        let token = access.ask_for_key(" Cu\nra ", from("192.0.2.1"), true).expect("asked");
        assert_eq!(access.key_answer(&token), AppAnswer::Open);
        let [question] = &access.app_questions()[..] else { panic!("one question") };
        assert_eq!((question.app.as_str(), question.address), ("Cu ra", from("192.0.2.1")));
        assert!(
            access.decide_on_app(&token, true).await.is_err(),
            "the application cannot decide by its own token"
        );
        access.decide_on_app(&question.decision, true).await.expect("decided");
        assert!(access.decide_on_app(&question.decision, true).await.is_err(), "once");
        let AppAnswer::Granted(key) = access.key_answer(&token) else { panic!("granted") };
        assert_eq!(access.key_answer(&token), AppAnswer::None, "told once");

        let again = Access::open(AccessSettings::default(), &store);
        for access in [&access, &again] {
            let identity = access.check_key(key.expose(), None).expect("the key is good");
            assert_eq!(access.role(&identity), Some(Role::Operate), "and no more");
        }
        assert!(!format!("{:?}", store.list(SPACE)).contains(key.expose()), "only the digest is kept");
        let identity = again.check_key(key.expose(), None).expect("good");
        let pass = again.picture_pass(&identity).expect("a pass for its camera URLs");
        assert_eq!(again.check_picture_pass(&pass).as_ref(), Some(&identity));
        again.revoke_app(&again.app_keys()[0].id).await.expect("revoked");
        assert_eq!(again.role(&identity), None);
        assert_eq!(again.check_picture_pass(&pass), None, "nor do its pictures go on");
        assert!(again.check_key(key.expose(), None).is_err());
        assert!(Access::open(AccessSettings::default(), &store).app_keys().is_empty());
    }

    #[tokio::test]
    async fn a_refusal_gives_nothing() {
        let access = Access::open(AccessSettings::default(), &Store::in_memory());
        let token = access.ask_for_key("Cura", None, true).expect("asked");
        let decision = access.app_questions()[0].decision.clone();
        access.decide_on_app(&decision, false).await.expect("decided");
        assert_eq!(access.key_answer(&token), AppAnswer::None);
        assert!(access.app_keys().is_empty() && access.ask_for_key(" ", None, true).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn questions_are_few_and_end_by_themselves() {
        let access = Access::open(AccessSettings::default(), &Store::in_memory());
        for _ in 0..QUESTIONS_OF_ONE {
            access.ask_for_key("A", from("192.0.2.1"), true).expect("asked");
        }
        assert!(access.ask_for_key("A", from("192.0.2.1"), true).is_err());
        let watched = access.ask_for_key("B", from("192.0.2.2"), true).expect("another address");
        tokio::time::advance(UNWATCHED - Duration::from_secs(1)).await;
        assert_eq!(access.key_answer(&watched), AppAnswer::Open);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(access.app_questions().len(), 1, "the others were not watched");
        for _ in 0..6 {
            access.key_answer(&watched);
            tokio::time::advance(UNWATCHED - Duration::from_secs(1)).await;
        }
        assert_eq!(access.key_answer(&watched), AppAnswer::None, "too old");
    }
}
