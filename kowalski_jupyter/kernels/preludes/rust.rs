/// The run's functions, and JSON, which Rust's library does not read.
#[allow(dead_code, non_snake_case)]
pub mod kowalski {
    use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
    use std::fmt::Write as _;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::unix::net::UnixStream;

    const SOCKET: &str = "/*SOCKET*/";
    const TOKEN: &str = "/*TOKEN*/";

    /// A JSON value. Its methods are those of serde_json's `Value`.
    #[derive(Clone, Debug, PartialEq)]
    pub enum Json {
        Null,
        Bool(bool),
        Int(i64),
        Float(f64),
        String(String),
        Array(Vec<Json>),
        Object(Vec<(String, Json)>),
    }

    static NULL: Json = Json::Null;

    impl Json {
        pub fn as_str(&self) -> Option<&str> { if let Json::String(text) = self { Some(text) } else { None } }
        pub fn as_bool(&self) -> Option<bool> { if let Json::Bool(value) = self { Some(*value) } else { None } }
        pub fn as_i64(&self) -> Option<i64> { if let Json::Int(number) = self { Some(*number) } else { None } }
        pub fn as_u64(&self) -> Option<u64> { self.as_i64().and_then(|number| number.try_into().ok()) }
        pub fn as_f64(&self) -> Option<f64> {
            match self { Json::Int(number) => Some(*number as f64), Json::Float(number) => Some(*number), _ => None }
        }
        pub fn as_array(&self) -> Option<&Vec<Json>> { if let Json::Array(items) = self { Some(items) } else { None } }
        pub fn as_object(&self) -> Option<&Vec<(String, Json)>> {
            if let Json::Object(items) = self { Some(items) } else { None }
        }
        pub fn is_null(&self) -> bool { matches!(self, Json::Null) }
        pub fn len(&self) -> usize {
            match self { Json::Array(items) => items.len(), Json::Object(items) => items.len(), _ => 0 }
        }
        pub fn get(&self, key: &str) -> Option<&Json> {
            self.as_object()?.iter().find(|(name, _)| name == key).map(|(_, value)| value)
        }
        pub fn iter(&self) -> std::slice::Iter<'_, Json> { self.as_array().map(|items| items.iter()).unwrap_or_default() }
    }
    impl std::ops::Index<&str> for Json {
        type Output = Json;
        fn index(&self, key: &str) -> &Json { self.get(key).unwrap_or(&NULL) }
    }
    impl std::ops::Index<usize> for Json {
        type Output = Json;
        fn index(&self, place: usize) -> &Json { self.as_array().and_then(|items| items.get(place)).unwrap_or(&NULL) }
    }
    impl std::fmt::Display for Json {
        fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            let mut text = String::new();
            write(&mut text, self, true);
            out.write_str(&text)
        }
    }

    /// What can be an answer or be shared.
    pub trait ToJson { fn to_json(&self) -> Json; }
    impl ToJson for Json { fn to_json(&self) -> Json { self.clone() } }
    impl ToJson for str { fn to_json(&self) -> Json { Json::String(self.to_string()) } }
    impl ToJson for String { fn to_json(&self) -> Json { Json::String(self.clone()) } }
    impl ToJson for char { fn to_json(&self) -> Json { Json::String(self.to_string()) } }
    impl ToJson for bool { fn to_json(&self) -> Json { Json::Bool(*self) } }
    impl ToJson for () { fn to_json(&self) -> Json { Json::Null } }
    macro_rules! numbers { ($kind:ident as $to:ty: $($from:ty)*) => { $(
        impl ToJson for $from { fn to_json(&self) -> Json { Json::$kind(*self as $to) } }
    )* } }
    numbers!(Int as i64: i8 i16 i32 i64 isize u8 u16 u32);
    numbers!(Float as f64: f32 f64);
    macro_rules! large { ($($from:ty)*) => { $(
        impl ToJson for $from {
            fn to_json(&self) -> Json {
                i64::try_from(*self).map(Json::Int).unwrap_or_else(|_| Json::Float(*self as f64))
            }
        }
    )* } }
    large!(u64 usize u128 i128);
    impl<T: ToJson + ?Sized> ToJson for &T { fn to_json(&self) -> Json { (**self).to_json() } }
    impl<T: ToJson + ?Sized> ToJson for Box<T> { fn to_json(&self) -> Json { (**self).to_json() } }
    impl<T: ToJson> ToJson for Option<T> {
        fn to_json(&self) -> Json { self.as_ref().map_or(Json::Null, ToJson::to_json) }
    }
    impl<T: ToJson> ToJson for [T] { fn to_json(&self) -> Json { Json::Array(self.iter().map(T::to_json).collect()) } }
    impl<T: ToJson, const N: usize> ToJson for [T; N] { fn to_json(&self) -> Json { self[..].to_json() } }
    impl<T: ToJson> ToJson for Vec<T> { fn to_json(&self) -> Json { self[..].to_json() } }
    impl<T: ToJson> ToJson for HashSet<T> { fn to_json(&self) -> Json { Json::Array(self.iter().map(T::to_json).collect()) } }
    impl<T: ToJson> ToJson for BTreeSet<T> { fn to_json(&self) -> Json { Json::Array(self.iter().map(T::to_json).collect()) } }
    impl<K: ToString, V: ToJson> ToJson for HashMap<K, V> {
        fn to_json(&self) -> Json { Json::Object(self.iter().map(|(key, value)| (key.to_string(), value.to_json())).collect()) }
    }
    impl<K: ToString, V: ToJson> ToJson for BTreeMap<K, V> {
        fn to_json(&self) -> Json { Json::Object(self.iter().map(|(key, value)| (key.to_string(), value.to_json())).collect()) }
    }
    impl<A: ToJson, B: ToJson> ToJson for (A, B) {
        fn to_json(&self) -> Json { Json::Array(vec![self.0.to_json(), self.1.to_json()]) }
    }
    impl<A: ToJson, B: ToJson, C: ToJson> ToJson for (A, B, C) {
        fn to_json(&self) -> Json { Json::Array(vec![self.0.to_json(), self.1.to_json(), self.2.to_json()]) }
    }

    /// Write JSON; without `plain`, {"$": tag, "v": …} stands for what it lacks.
    fn write(out: &mut String, value: &Json, plain: bool) {
        match value {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => { let _ = write!(out, "{value}"); }
            Json::Int(number) => { let _ = write!(out, "{number}"); }
            Json::Float(number) if number.is_finite() => { let _ = write!(out, "{number:?}"); }
            Json::Float(_) if plain => out.push_str("null"),
            Json::Float(number) => {
                let tag = if number.is_nan() { "nan" } else if *number > 0.0 { "inf" } else { "-inf" };
                let _ = write!(out, "{{\"$\":\"float\",\"v\":\"{tag}\"}}");
            }
            Json::String(text) => quote(out, text),
            Json::Array(items) => {
                out.push('[');
                for (place, item) in items.iter().enumerate() {
                    if place > 0 { out.push(','); }
                    write(out, item, plain);
                }
                out.push(']');
            }
            Json::Object(items) if !plain && items.iter().any(|(key, _)| key == "$") => {
                out.push_str("{\"$\":\"dict\",\"v\":");
                let pairs = items.iter().map(|(key, item)| Json::Array(vec![Json::String(key.clone()), item.clone()]));
                write(out, &Json::Array(pairs.collect()), false);
                out.push('}');
            }
            Json::Object(items) => {
                out.push('{');
                for (place, (key, item)) in items.iter().enumerate() {
                    if place > 0 { out.push(','); }
                    quote(out, key);
                    out.push(':');
                    write(out, item, plain);
                }
                out.push('}');
            }
        }
    }

    fn quote(out: &mut String, text: &str) {
        out.push('"');
        for letter in text.chars() {
            match letter {
                '"' | '\\' => { out.push('\\'); out.push(letter); }
                letter if letter < ' ' => { let _ = write!(out, "\\u{:04x}", letter as u32); }
                letter => out.push(letter),
            }
        }
        out.push('"');
    }

    /// Read JSON.
    pub fn parse(text: &str) -> Result<Json, String> {
        let mut reader = Reader { text: text.as_bytes(), at: 0 };
        let value = reader.value()?;
        reader.space();
        if reader.at < text.len() { return Err(reader.wrong()); }
        Ok(value)
    }

    struct Reader<'a> { text: &'a [u8], at: usize }

    impl Reader<'_> {
        fn wrong(&self) -> String { format!("not JSON at byte {}", self.at) }
        fn space(&mut self) { while self.at < self.text.len() && self.text[self.at] <= b' ' { self.at += 1; } }
        fn next(&mut self) -> Result<u8, String> {
            self.space();
            self.text.get(self.at).copied().ok_or_else(|| self.wrong())
        }
        fn value(&mut self) -> Result<Json, String> {
            match self.next()? {
                b'{' => {
                    self.at += 1;
                    let mut items = Vec::new();
                    while self.next()? != b'}' {
                        let key = self.string()?;
                        if self.next()? != b':' { return Err(self.wrong()); }
                        self.at += 1;
                        items.push((key, self.value()?));
                        if self.next()? == b',' { self.at += 1; }
                    }
                    self.at += 1;
                    Ok(Json::Object(items))
                }
                b'[' => {
                    self.at += 1;
                    let mut items = Vec::new();
                    while self.next()? != b']' {
                        items.push(self.value()?);
                        if self.next()? == b',' { self.at += 1; }
                    }
                    self.at += 1;
                    Ok(Json::Array(items))
                }
                b'"' => Ok(Json::String(self.string()?)),
                _ => {
                    let start = self.at;
                    while self.at < self.text.len() && !b",]} \n\r\t".contains(&self.text[self.at]) { self.at += 1; }
                    match std::str::from_utf8(&self.text[start..self.at]).unwrap_or("") {
                        "null" => Ok(Json::Null),
                        "true" => Ok(Json::Bool(true)),
                        "false" => Ok(Json::Bool(false)),
                        word => word.parse().map(Json::Int).or_else(|_| word.parse().map(Json::Float)).map_err(|_| self.wrong()),
                    }
                }
            }
        }
        fn string(&mut self) -> Result<String, String> {
            if self.next()? != b'"' { return Err(self.wrong()); }
            self.at += 1;
            let mut out: Vec<u8> = Vec::new();
            loop {
                let byte = *self.text.get(self.at).ok_or_else(|| self.wrong())?;
                self.at += 1;
                match byte {
                    b'"' => return Ok(String::from_utf8_lossy(&out).into_owned()),
                    b'\\' => {
                        let escape = *self.text.get(self.at).ok_or_else(|| self.wrong())?;
                        self.at += 1;
                        match escape {
                            b'n' => out.push(b'\n'),
                            b't' => out.push(b'\t'),
                            b'r' => out.push(b'\r'),
                            b'b' => out.push(8),
                            b'f' => out.push(12),
                            b'u' => {
                                let mut unit = self.unit()?;
                                if (0xD800..0xDC00).contains(&unit) && self.text[self.at..].starts_with(b"\\u") {
                                    self.at += 2;
                                    unit = 0x10000 + ((unit - 0xD800) << 10) + self.unit()?.wrapping_sub(0xDC00);
                                }
                                let letter = char::from_u32(unit).unwrap_or('\u{FFFD}');
                                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                            }
                            other => out.push(other),
                        }
                    }
                    byte => out.push(byte),
                }
            }
        }
        fn unit(&mut self) -> Result<u32, String> {
            let digits = self.text.get(self.at..self.at + 4).and_then(|digits| std::str::from_utf8(digits).ok());
            self.at += 4;
            digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).ok_or_else(|| self.wrong())
        }
    }

    fn call(name: &str, fields: &str, payload: &[u8]) -> Result<(Json, Vec<u8>), String> {
        let lost = |error: std::io::Error| format!("The run cannot be reached: {error}");
        let mut stream = UnixStream::connect(SOCKET).map_err(lost)?;
        let head = format!("{{\"token\":\"{TOKEN}\",\"call\":\"{name}\",\"size\":{}{fields}}}\n", payload.len());
        stream.write_all(head.as_bytes()).map_err(lost)?;
        stream.write_all(payload).map_err(lost)?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).map_err(lost)?;
        if line.is_empty() { return Err("The run cannot be reached: it has ended".into()); }
        let reply = parse(&line)?;
        if let Some(reason) = reply["error"].as_str() { return Err(reason.to_string()); }
        let mut data = vec![0; reply["size"].as_u64().unwrap_or(0) as usize];
        reader.read_exact(&mut data).map_err(lost)?;
        Ok((reply["reply"].clone(), data))
    }

    fn field(name: &str, value: &Json) -> String {
        let mut out = format!(",\"{name}\":");
        write(&mut out, value, true);
        out
    }

    fn give(name: &str, fields: String, value: &Json, plain: bool) {
        let mut data = String::new();
        write(&mut data, value, plain);
        let text = value.as_str().map(str::to_string).unwrap_or_else(|| value.to_string());
        let text: String = text.chars().take(20_000).collect();
        let kind = match value {
            Json::Null => "None", Json::Bool(_) => "bool", Json::Int(_) => "i64", Json::Float(_) => "f64",
            Json::String(_) => "String", Json::Array(_) => "Vec", Json::Object(_) => "Map",
        };
        let fields = format!("{fields},\"kind\":\"json\",\"type\":\"{kind}\"{}", field("text", &Json::String(text)));
        if let Err(reason) = call(name, &fields, data.as_bytes()) { panic!("{reason}"); }
    }

    /// Ask a language model. Panics with the reason if there is no reply.
    pub fn llm_query(prompt: impl AsRef<str>) -> String {
        let fields = format!("{},\"options\":{{}}", field("prompt", &prompt.as_ref().to_json()));
        match call("llm_query", &fields, b"") {
            Ok((reply, _)) => reply.as_str().map(str::to_string).unwrap_or_else(|| reply.to_string()),
            Err(reason) => panic!("{reason}"),
        }
    }

    /// Ask many prompts at once; the replies come in the same order.
    pub fn llm_query_batched<T: AsRef<str>>(prompts: &[T]) -> Vec<Result<String, String>> {
        let prompts: Vec<&str> = prompts.iter().map(AsRef::as_ref).collect();
        let fields = format!("{},\"options\":{{}}", field("prompts", &prompts.to_json()));
        match call("llm_query_batched", &fields, b"") {
            Ok((replies, _)) => replies.iter().map(|item| match item["error"].as_str() {
                Some(reason) => Err(reason.to_string()),
                None => Ok(item["reply"].as_str().map(str::to_string).unwrap_or_else(|| item["reply"].to_string())),
            }).collect(),
            Err(reason) => panic!("{reason}"),
        }
    }

    /// Give the run's answer and end the cell.
    pub fn FINAL<T: ToJson>(value: T) {
        give("final", String::new(), &value.to_json(), false);
        std::panic::resume_unwind(Box::new("the answer has been given"));
    }

    /// Keep a value under a name for this run's code in other languages.
    pub fn share<T: ToJson>(name: &str, value: T) { give("share", field("name", &name.to_json()), &value.to_json(), true); }

    /// Return what this run's code, in whatever language, keeps under a name.
    pub fn shared(name: &str) -> Json {
        match call("shared", &field("name", &name.to_json()), b"") {
            Ok((kind, data)) if kind["kind"].as_str() == Some("bytes") => data.to_json(),
            Ok((_, data)) => parse(&String::from_utf8_lossy(&data)).unwrap_or(Json::Null),
            Err(reason) => panic!("{reason}"),
        }
    }

    /// A panic is told on one line, which the service takes for the error that it is.
    pub fn tell_of_panics() {
        std::panic::set_hook(Box::new(|panic| {
            let message = {
                let payload = panic.payload();
                let text = payload.downcast_ref::<String>().map(String::as_str);
                text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("with a value of its own")
            }.replace('\n', " ");
            println!("KOWALSKI_PANIC {message}");
        }));
    }

    pub fn bytes(path: &str) -> &'static [u8] { Box::leak(std::fs::read(path).expect(path).into_boxed_slice()) }
    pub fn text(path: &str) -> &'static str {
        match std::str::from_utf8(bytes(path)) {
            Ok(text) => text,
            Err(_) => Box::leak(String::from_utf8_lossy(bytes(path)).into_owned().into_boxed_str()),
        }
    }
    pub fn json(path: &str) -> &'static Json { Box::leak(Box::new(parse(text(path)).expect(path))) }
}
use kowalski::{FINAL, Json, ToJson, share, shared};
