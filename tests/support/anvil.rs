//! A real EVM node for a test, with contracts to deploy and calls to send.
#![expect(clippy::unwrap_used, reason = "a test may panic anywhere")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use alloy_dyn_abi::{DynSolValue, JsonAbiExt};
use alloy_json_abi::{Function, JsonAbi};
use alloy_primitives::{Address, Bytes, hex};
use serde_json::{Value, json};

use crate::root;

/// A node on its own port, which mines a block for each transaction by default. Ends when dropped, and with the test
/// process however that ends.
pub struct Anvil {
    address: String,
    client: reqwest::Client,
    /// The pipe that keeps the node alive.
    shell: Child,
    accounts: Vec<Address>,
}

impl Anvil {
    /// Starts a node with ten funded accounts whose transactions need no signature.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more arguments: `--chain-id 7`, `--block-time 1`, `--slots-in-an-epoch 1`.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let (shell, address) = spawn(arguments);
        // The HTTP client requires a TLS library, although this test uses no TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut anvil = Self { address, client, shell, accounts: Vec::new() };
        anvil.accounts = serde_json::from_value(anvil.rpc("eth_accounts", json!([])).await).unwrap();
        anvil
    }

    /// `http://…`
    pub fn http_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `ws://…`, on the same port.
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// The funded accounts.
    pub fn accounts(&self) -> &[Address] {
        &self.accounts
    }

    /// The result of a JSON-RPC call; panics on an error.
    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        self.try_rpc(method, params).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The result of a JSON-RPC call, or its error object.
    pub async fn try_rpc(&self, method: &str, params: Value) -> Result<Value, Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let request = self.client.post(self.http_url()).header("content-type", "application/json").body(body);
        let answer = request.send().await.unwrap().bytes().await.unwrap();
        let mut answer: Value = serde_json::from_slice(&answer).unwrap();
        match answer.get_mut("error").map(Value::take) {
            Some(error) => Err(error),
            None => Ok(answer["result"].take()),
        }
    }

    /// Deploys `target/contracts/<name>.json` from the first account.
    pub async fn deploy(&self, name: &str, arguments: &[DynSolValue]) -> Contract {
        let (abi, mut code) = artefact(name);
        if let Some(constructor) = &abi.constructor {
            code.extend(constructor.abi_encode_input(arguments).unwrap());
        }
        let receipt = self.transact(json!({ "from": self.accounts[0], "data": Bytes::from(code) })).await;
        let address = serde_json::from_value(receipt["contractAddress"].clone()).unwrap();
        Contract { address, created: number(&receipt["blockNumber"]), abi }
    }

    /// Calls a contract in a transaction of its own and returns the receipt; panics when it reverts.
    pub async fn send(&self, from: Address, contract: &Contract, call: Bytes) -> Value {
        self.transact(json!({ "from": from, "to": contract.address, "data": call })).await
    }

    /// Sends a call without waiting for a block, as required while automatic mining is off ([`Anvil::set_automine`]);
    /// returns the transaction's hash.
    pub async fn submit(&self, from: Address, contract: &Contract, call: Bytes) -> String {
        let transaction = json!({ "from": from, "to": contract.address, "data": call, "gas": "0xf4240" });
        let hash = self.rpc("eth_sendTransaction", json!([transaction])).await;
        hash.as_str().unwrap().to_owned()
    }

    async fn transact(&self, transaction: Value) -> Value {
        let hash = self.rpc("eth_sendTransaction", json!([transaction])).await;
        let receipt = loop {
            match self.rpc("eth_getTransactionReceipt", json!([hash])).await {
                Value::Null => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
                receipt => break receipt,
            }
        };
        assert_eq!(receipt["status"], "0x1", "{transaction} reverts");
        receipt
    }

    /// Sets whether each transaction gets a block at once, which is the default.
    pub async fn set_automine(&self, on: bool) {
        self.rpc("evm_setAutomine", json!([on])).await;
    }

    /// Mines `blocks` blocks; the first includes the waiting transactions.
    pub async fn mine(&self, blocks: u64) {
        self.rpc("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    /// Replaces the newest `depth` blocks with others. `transactions` are the contents of the new blocks: each with the
    /// offset of its block, 0 for the lowest new one.
    pub async fn reorg(&self, depth: u64, transactions: &[(Value, u64)]) {
        self.rpc("anvil_reorg", json!([depth, transactions])).await;
    }

    /// Drops blocks without a replacement: the chain gets shorter.
    pub async fn rollback(&self, depth: u64) {
        self.rpc("anvil_rollback", json!([depth])).await;
    }

    /// Height of the newest block.
    pub async fn head(&self) -> u64 {
        number(&self.rpc("eth_blockNumber", json!([])).await)
    }

    /// The block without its transactions' bodies.
    pub async fn block(&self, height: u64) -> Value {
        self.rpc("eth_getBlockByNumber", json!([format!("{height:#x}"), false])).await
    }

    /// The logs of a block, confirmed by the receipts' root: the reference for stored rows.
    pub async fn receipts(&self, height: u64) -> Vec<Value> {
        let receipts = self.rpc("eth_getBlockReceipts", json!([format!("{height:#x}")])).await;
        serde_json::from_value(receipts).unwrap()
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        // Closes the pipe: the shell stops the node and then ends.
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A contract on the node.
pub struct Contract {
    /// Its address.
    pub address: Address,
    /// The block of its creation.
    pub created: u64,
    /// Its functions and events.
    pub abi: JsonAbi,
}

impl Contract {
    /// The bytes that call the function `name`.
    pub fn call(&self, name: &str, arguments: &[DynSolValue]) -> Bytes {
        let functions = self.abi.function(name).unwrap_or_else(|| panic!("no function {name}"));
        let fits = |function: &&Function| function.inputs.len() == arguments.len();
        let function = functions.iter().find(fits).unwrap_or_else(|| panic!("{name} takes other arguments"));
        function.abi_encode_input(arguments).unwrap().into()
    }
}

/// A JSON-RPC quantity.
pub fn number(quantity: &Value) -> u64 {
    let digits = quantity.as_str().and_then(|text| text.strip_prefix("0x")).expect("a quantity has 0x");
    u64::from_str_radix(digits, 16).unwrap()
}

/// The shell runs the node while its standard input is open, so the node also ends with a killed test.
fn spawn(arguments: &[&str]) -> (Child, String) {
    let program = root().join(".tools/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
    assert!(program.exists(), "{} is missing: `make test` installs it", program.display());
    let mut shell = Command::new("/bin/sh")
        .args(["-c", r#""$0" "$@" & read -r _; kill -9 $!; wait 2>/dev/null"#])
        .arg(program)
        .args(["--host", "127.0.0.1", "--port", "0"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines().map_while(Result::ok);
    let address = lines
        .find_map(|line| line.strip_prefix("Listening on ").map(str::to_owned))
        .expect("anvil prints its address");
    // The node prints more, and would block if its output were not read.
    std::thread::spawn(move || lines.for_each(drop));
    (shell, address)
}

fn artefact(name: &str) -> (JsonAbi, Vec<u8>) {
    let path = root().join(format!("target/contracts/{name}.json"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|_| panic!("{} is missing: `make test` compiles it", path.display()));
    let mut artefact: Value = serde_json::from_str(&text).unwrap();
    let code = hex::decode(artefact["bytecode"].as_str().unwrap()).unwrap();
    (serde_json::from_value(artefact["abi"].take()).unwrap(), code)
}
