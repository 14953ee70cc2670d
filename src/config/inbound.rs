use super::chain::ChainDraft;
use super::problem::Fault;
use super::reader::{Found, Text};
use super::section::Section;
use super::words::{dashed_name, word};
use chainflume_inbound::{InboundEndpoint, InboundProvider, InboundSecret};

/// What is known of a `[[inbound]]`, whole or not.
pub(super) struct InboundDraft {
    pub name: Option<Text>,
    pub chain: Option<Text>,
    signed: Option<(InboundProvider, Vec<InboundSecret>)>,
}

impl InboundDraft {
    /// The endpoint, with the id of its chain; `None` where something is wrong with it.
    pub fn endpoint(self, chains: &[ChainDraft]) -> Option<InboundEndpoint> {
        let (provider, secrets) = self.signed?;
        let is_this = |draft: &&ChainDraft, chain: &Text| {
            draft.name.as_ref().is_some_and(|name| name.value == chain.value)
        };
        let chain = match &self.chain {
            None => None,
            Some(chain) => Some(chains.iter().find(|draft| is_this(draft, chain))?.chain_id.as_ref()?.value),
        };
        Some(InboundEndpoint { name: self.name?.value, provider, secrets, chain })
    }
}

const REQUIRED: [(&str, &str); 3] = [
    ("name", "add name = \"…\", the end of the path and the name in metrics"),
    (
        "provider",
        "add provider = \"coinbase\", \"alchemy\", \"quicknode\", \"moralis\", \"standard\" or \"hmac\"",
    ),
    ("secret", "add secret = \"…\", what the provider signs with: without it anybody could send deliveries"),
];

/// Two: the new one and the old one.
const MAX_SECRETS: usize = 2;

pub(super) fn read(section: &Section<'_>) -> InboundDraft {
    section.require(&REQUIRED);
    let name = section.parsed("name", dashed_name);
    let header = section.parsed("header", header).map(|header| header.value);
    let kinds = [
        ("coinbase", InboundProvider::Coinbase),
        ("alchemy", InboundProvider::Alchemy),
        ("quicknode", InboundProvider::QuickNode),
        ("moralis", InboundProvider::Moralis),
        ("standard", InboundProvider::Standard),
        ("hmac", InboundProvider::Hmac(header.clone().unwrap_or_else(|| "x-signature".to_owned()))),
    ];
    let provider = section.parsed("provider", |text| kind(text, &kinds));
    let secrets = secrets(section, provider.as_ref());
    let chain = section.text("chain");
    section.finish();
    InboundDraft { name, chain, signed: provider.map(|provider| provider.value).zip(secrets) }
}

fn kind(text: &str, kinds: &[(&'static str, InboundProvider)]) -> Result<InboundProvider, Fault> {
    let words: Vec<(&'static str, usize)> =
        kinds.iter().enumerate().map(|(index, (word, _))| (*word, index)).collect();
    word(text, &words).map(|index| kinds[index].1.clone())
}

fn header(text: &str) -> Result<String, Fault> {
    let name = text.to_ascii_lowercase();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.len() <= 64 && name.bytes().all(fits) {
        return Ok(name);
    }
    Err(Fault::new("is not the name of a header", "write it as the provider does: \"X-Signature\""))
}

/// One secret, or two while they are exchanged. An empty one is missing: it would let everybody in.
fn secrets(section: &Section<'_>, provider: Option<&Found<InboundProvider>>) -> Option<Vec<InboundSecret>> {
    let texts = section.secrets(MAX_SECRETS, "does not hold one or two secrets")?;
    let provider = &provider?.value;
    let secret = |text: &str| {
        let remedy = "write the secret that the provider's dashboard shows for this webhook";
        InboundSecret::read(provider, text).map_err(|what| Fault::new(what, remedy))
    };
    section.all_parsed(texts, secret)
}
