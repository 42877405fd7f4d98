// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Prototypes of functions: the original's from BTF, as C and Rust write it, the replacement's from DWARF, and whether
//! a caller of the one can call the other.

use btf_rs::Btf;
use btf_rs::BtfType;
use btf_rs::Type;

/// How a value is passed, which is all that a caller and a function must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pass {
    Nothing,
    Pointer,
    /// Size in bytes, and whether it has a sign; enums have the sign that their compiler likes.
    Number(usize, Option<bool>),
    Bool,
    /// A structure, union or anything else of so many bytes.
    Bytes(usize),
}

impl Pass {
    fn size(&self) -> usize {
        match self {
            Pass::Nothing => 0,
            Pass::Pointer => 8,
            Pass::Number(size, _) | Pass::Bytes(size) => *size,
            Pass::Bool => 1,
        }
    }

    /// Does a function that takes `self` find what was passed as `other`?
    pub fn takes(&self, other: &Pass) -> bool {
        match (self, other) {
            (Pass::Number(a, Some(s)), Pass::Number(b, Some(t))) => a == b && s == t,
            // What Rust wraps, such as `Option<&T>`, is bytes here.
            (Pass::Bytes(_), _) | (_, Pass::Bytes(_)) => self.size() == other.size(),
            (Pass::Number(a, _), Pass::Number(b, _)) => a == b,
            _ => self == other,
        }
    }
}

impl std::fmt::Display for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pass::Nothing => f.write_str("nothing"),
            Pass::Pointer => f.write_str("a pointer"),
            Pass::Bool => f.write_str("a bool"),
            Pass::Bytes(size) => write!(f, "{size} bytes"),
            Pass::Number(size, sign) => {
                let sign = match sign {
                    Some(true) => "a signed",
                    Some(false) => "an unsigned",
                    None => "a",
                };
                write!(f, "{sign} number of {} bits", size * 8)
            }
        }
    }
}

/// A value's type.
#[derive(Clone, Debug)]
pub struct Value {
    pub pass: Pass,
    /// As its own language writes it.
    pub text: String,
    /// As `livepatch!` wants it.
    pub rust: String,
    pub name: String,
}

/// A function's type.
#[derive(Clone, Debug)]
pub struct Prototype {
    pub arguments: Vec<Value>,
    pub returns: Value,
}

impl Prototype {
    /// The prototype of `function` in a kernel's or module's BTF; `None` where that has none.
    pub fn from_btf(btf: &Btf, function: &str) -> Option<Prototype> {
        let types = btf.resolve_types_by_name(function).ok()?;
        let function = types.into_iter().find(|t| matches!(t, Type::Func(_)))?;
        let Ok(Type::FuncProto(proto)) = btf.resolve_chained_type(function.as_btf_type()?) else {
            return None;
        };
        let arguments = proto
            .parameters
            .iter()
            .map(|parameter| Value {
                name: btf.resolve_name(parameter).unwrap_or_default(),
                ..value(btf, parameter.get_type_id().unwrap_or(0), 0)
            })
            .collect();
        Some(Prototype {
            arguments,
            returns: value(btf, proto.return_type_id(), 0),
        })
    }

    /// The declaration of `name` in C.
    pub fn c(&self, name: &str) -> String {
        let arguments: Vec<String> = self
            .arguments
            .iter()
            .map(|a| spaced(&a.text, &a.name))
            .collect();
        let arguments = match arguments.is_empty() {
            true => "void".to_owned(),
            false => arguments.join(", "),
        };
        format!("{}({arguments})", spaced(&self.returns.text, name))
    }

    /// The entry of `livepatch!` for `name`, without its replacement.
    pub fn rust(&self, name: &str) -> String {
        let arguments: Vec<&str> = self.arguments.iter().map(|a| a.rust.as_str()).collect();
        let returns = match self.returns.pass {
            Pass::Nothing => String::new(),
            _ => format!(" -> {}", self.returns.rust),
        };
        format!("unsafe fn {name}({}){returns}", arguments.join(", "))
    }

    /// Is it `void f(void)`? That is what debug information says of every routine in assembly.
    pub fn is_bare(&self) -> bool {
        self.arguments.is_empty() && self.returns.pass == Pass::Nothing
    }

    /// In what `new` differs, so that a caller of `self` must not call it.
    pub fn differs(&self, new: &Prototype) -> Option<String> {
        if self.arguments.len() != new.arguments.len() {
            return Some(format!(
                "takes {} argument(s), and the original {}",
                new.arguments.len(),
                self.arguments.len()
            ));
        }
        let pairs = self.arguments.iter().zip(&new.arguments).enumerate();
        for (i, (old, new)) in pairs {
            if !new.pass.takes(&old.pass) {
                return Some(format!(
                    "takes {} ({}) as argument {} ({}), where the original takes {} ({})",
                    new.pass,
                    new.text,
                    i + 1,
                    old.name,
                    old.pass,
                    old.text
                ));
            }
        }
        // Who expects nothing does not look at what comes.
        let ignored = self.returns.pass == Pass::Nothing;
        (!ignored && !self.returns.pass.takes(&new.returns.pass)).then(|| {
            format!(
                "returns {} ({}), and the original {} ({})",
                new.returns.pass, new.returns.text, self.returns.pass, self.returns.text
            )
        })
    }
}

/// `int x`, but `char *x`.
fn spaced(text: &str, name: &str) -> String {
    match text.ends_with('*') || name.is_empty() {
        true => format!("{text}{name}"),
        false => format!("{text} {name}"),
    }
}

/// More pointers, `const` and names above each other than any type has: in a damaged file they lead round and round.
const DEEPEST: usize = 32;

/// The type `id` of `btf`, so many types below the first.
fn value(btf: &Btf, id: u32, depth: usize) -> Value {
    let this = match btf.resolve_type_by_id(id) {
        Ok(this) if depth < DEEPEST => this,
        _ => return plain(Pass::Bytes(0), "?", "?"),
    };
    let inner = this.as_btf_type();
    let name = inner.and_then(|t| btf.resolve_name(t).ok());
    let name = name.unwrap_or_default();
    let below = || {
        let id = inner.and_then(BtfType::get_type_id);
        value(btf, id.unwrap_or(0), depth + 1)
    };
    let bindings = format!("bindings::{name}");
    let named = |kind: &str, pass| plain(pass, &format!("{kind} {name}"), &bindings);
    match &this {
        Type::Void => plain(Pass::Nothing, "void", "c_void"),
        Type::Int(int) if int.is_bool() => plain(Pass::Bool, &name, "bool"),
        Type::Int(int) => {
            let (size, signed) = (int.size(), int.is_signed());
            let rust = rust_number(&name, size, signed);
            plain(Pass::Number(size, Some(signed)), &name, &rust)
        }
        Type::Ptr(_) => pointer(btf, inner, &below()),
        Type::Const(_) => {
            let of = below();
            let text = format!("const {}", of.text);
            Value { text, ..of }
        }
        Type::Volatile(_) | Type::Restrict(_) | Type::TypeTag(_) | Type::DeclTag(_) => below(),
        Type::Typedef(_) => {
            let of = below();
            let rust = match of.pass {
                Pass::Number(size, Some(signed)) => rust_number(&name, size, signed),
                Pass::Number(..) | Pass::Bytes(_) => bindings,
                _ => of.rust,
            };
            Value {
                text: name,
                rust,
                ..of
            }
        }
        Type::Struct(s) => named("struct", Pass::Bytes(s.size())),
        Type::Union(u) => named("union", Pass::Bytes(u.size())),
        Type::Enum(e) => named("enum", Pass::Number(e.size(), None)),
        Type::Enum64(e) => named("enum", Pass::Number(e.size(), None)),
        Type::Fwd(fwd) if fwd.is_union() => named("union", Pass::Bytes(0)),
        Type::Fwd(_) => named("struct", Pass::Bytes(0)),
        Type::Float(float) => plain(Pass::Bytes(float.size()), &name, "f64"),
        Type::FuncProto(_) => plain(Pass::Nothing, "void (*)()", "c_void"),
        _ => plain(Pass::Bytes(0), this.name(), "?"),
    }
}

fn plain(pass: Pass, text: &str, rust: &str) -> Value {
    Value {
        pass,
        text: text.to_owned(),
        rust: rust.to_owned(),
        name: String::new(),
    }
}

fn pointer(btf: &Btf, this: Option<&dyn BtfType>, of: &Value) -> Value {
    let mutable = match this.and_then(|t| btf.resolve_chained_type(t).ok()) {
        Some(Type::Const(_)) => "const",
        _ => "mut",
    };
    let text = match of.text.ends_with(')') {
        true => of.text.clone(),
        false => spaced(&of.text, "*"),
    };
    plain(Pass::Pointer, &text, &format!("*{mutable} {}", of.rust))
}

/// C's name for a number as Rust has it.
fn rust_number(name: &str, size: usize, signed: bool) -> String {
    let known = match name {
        "char" => "c_char",
        "int" => "c_int",
        "unsigned int" => "c_uint",
        "long" | "long int" => "c_long",
        "unsigned long" | "long unsigned int" => "c_ulong",
        "size_t" => "usize",
        "ssize_t" => "isize",
        _ => "",
    };
    match (known, signed) {
        ("", true) => format!("i{}", size * 8),
        ("", false) => format!("u{}", size * 8),
        (known, _) => known.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prototype(arguments: &[Pass], returns: Pass) -> Prototype {
        Prototype {
            arguments: arguments
                .iter()
                .map(|pass| plain(pass.clone(), "t", "t"))
                .collect(),
            returns: plain(returns, "t", "t"),
        }
    }

    #[test]
    fn a_type_that_is_made_of_itself_has_an_end() {
        // Names; then FUNC_PROTO, which returns 3; FUNC `f` of 1; TYPEDEF `t` of itself.
        let names = *b"\0f\0t\0";
        let types = [[0, 13 << 24, 3], [1, 12 << 24, 1], [3, 8 << 24, 3]].concat();
        let header = [0x1_eb9f, 24, 0, 36, 36, names.len() as u32];
        let numbers = header.into_iter().chain(types).flat_map(u32::to_le_bytes);
        let bytes: Vec<u8> = numbers.chain(names).collect();
        let btf = Btf::from_bytes(&bytes).unwrap();
        let prototype = Prototype::from_btf(&btf, "f").unwrap();
        assert_eq!(prototype.returns.pass, Pass::Bytes(0));
    }

    #[test]
    fn what_a_caller_must_not_call_is_told() {
        let int = Pass::Number(4, Some(true));
        let old = prototype(&[Pass::Pointer, int.clone()], int.clone());
        let differs = |arguments: &[Pass], returns: &Pass| {
            old.differs(&prototype(arguments, returns.clone()))
        };
        assert_eq!(differs(&[Pass::Pointer, int.clone()], &int), None);
        assert_eq!(
            differs(&[Pass::Bytes(8), Pass::Number(4, None)], &int),
            None
        );
        assert!(differs(&[Pass::Pointer], &int)
            .unwrap()
            .starts_with("takes 1 argument"));
        let unsigned = Pass::Number(4, Some(false));
        assert!(differs(&[Pass::Pointer, unsigned], &int)
            .unwrap()
            .contains("an unsigned number of 32 bits"));
        assert!(differs(&[Pass::Pointer, Pass::Number(8, Some(true))], &int).is_some());
        assert!(differs(&[Pass::Pointer, int.clone()], &Pass::Nothing)
            .unwrap()
            .starts_with("returns nothing"));
        assert_eq!(
            prototype(&[], Pass::Nothing).differs(&prototype(&[], int)),
            None
        );
    }
}
