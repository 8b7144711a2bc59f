//! Arguments into types: serde_json's deserializer, wrapped so that a type which asks for bytes
//! gets the attachment that a placeholder names, wherever the type stands.
//!
//! The wrapper goes along with every nested value, because only the type knows where it expects
//! bytes. Types that serde buffers before it looks at them (untagged, internally tagged and
//! flattened ones) ask for no bytes while they are read, and therefore see the placeholder's map.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error as _, IgnoredAny, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde_json::de::SliceRead;

use super::ArgsError;
use super::scan::cut;

/// Reads arguments, the text that a scanner of this module cut from a packet, as a value.
///
/// A tuple or tuple struct, fixed-size arrays among them, takes all arguments: those that lack are
/// null, those in excess are ignored, as in a JavaScript function. Any other type takes the first
/// argument. Where `T` asks for bytes (as [`Bytes`] and the types of `serde_bytes` do) a
/// placeholder gives the attachment that it names.
///
/// # Errors
/// The peer's arguments are not what `T` asks for. Strings with lone surrogates and numbers beyond
/// the largest `f64`, which may be relayed, have no counterpart in Rust.
pub fn from_args<'de, T>(args: &'de [u8], attachments: &'de [Bytes]) -> Result<T, ArgsError>
where
    T: Deserialize<'de>,
{
    T::deserialize(List { rest: args, wanted: 0, attachments }).map_err(ArgsError::Mismatch)
}

/// The arguments that have not been read yet. As a deserializer it is the first of them, unless a
/// tuple is asked for.
struct List<'de> {
    rest: &'de [u8],
    /// How many elements a tuple still takes.
    wanted: usize,
    attachments: &'de [Bytes],
}

impl<'de> List<'de> {
    /// The first argument, null if there is none. What stands behind it is not looked at.
    fn first(&self) -> serde_json::Deserializer<SliceRead<'de>> {
        let text = if self.rest.is_empty() { b"null" } else { self.rest };
        serde_json::Deserializer::from_slice(text)
    }

    fn all<V: Visitor<'de>>(
        mut self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, serde_json::Error> {
        self.wanted = length;
        visitor.visit_seq(self)
    }
}

/// Names the methods of a deserializer that only hand on, for a macro that writes them.
macro_rules! each_method {
    ($write:ident) => {
        $write! {
            deserialize_any() deserialize_bool() deserialize_i8() deserialize_i16()
            deserialize_i32() deserialize_i64() deserialize_i128() deserialize_u8()
            deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
            deserialize_f32() deserialize_f64() deserialize_char() deserialize_str()
            deserialize_string() deserialize_option() deserialize_unit() deserialize_seq()
            deserialize_map() deserialize_identifier() deserialize_ignored_any()
            deserialize_unit_struct(name: &'static str)
            deserialize_newtype_struct(name: &'static str)
            deserialize_struct(name: &'static str, fields: &'static [&'static str])
            deserialize_enum(name: &'static str, variants: &'static [&'static str])
        }
    };
}

macro_rules! read_first {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(
            self, $($argument: $type,)* visitor: V,
        ) -> Result<V::Value, Self::Error> {
            let mut json = self.first();
            Placed { inner: &mut json, attachments: self.attachments }
                .$method($($argument,)* visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for List<'de> {
    type Error = serde_json::Error;

    each_method! { read_first }
    read_first! { deserialize_bytes() deserialize_byte_buf() }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.all(length, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.all(length, visitor)
    }
}

impl<'de> SeqAccess<'de> for List<'de> {
    type Error = serde_json::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        if self.wanted == 0 {
            return Ok(None);
        }
        self.wanted -= 1;
        let (element, rest) = cut(self.rest).unwrap_or((b"null", b""));
        self.rest = rest;
        let mut json = serde_json::Deserializer::from_slice(element);
        seed.deserialize(Placed { inner: &mut json, attachments: self.attachments }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.wanted)
    }
}

/// Something of serde's that knows the attachments of the packet: a deserializer, a visitor, a
/// seed, or the access to the inside of a value.
struct Placed<'de, I> {
    inner: I,
    attachments: &'de [Bytes],
}

impl<'de, I> Placed<'de, I> {
    fn with<J>(&self, inner: J) -> Placed<'de, J> {
        Placed { inner, attachments: self.attachments }
    }
}

macro_rules! hand_on {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(
            self, $($argument: $type,)* visitor: V,
        ) -> Result<V::Value, Self::Error> {
            let visitor = self.with(visitor);
            self.inner.$method($($argument,)* visitor)
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Placed<'de, D> {
    type Error = D::Error;

    each_method! { hand_on }
    hand_on! {
        deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.inner.deserialize_any(BytesOf { visitor, attachments: self.attachments })
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_bytes(visitor)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit_scalars {
    ($($method:ident($type:ty))*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<Self::Value, E> {
            self.inner.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Placed<'de, V> {
    type Value = V::Value;

    visit_scalars! {
        visit_bool(bool) visit_i64(i64) visit_i128(i128) visit_u64(u64) visit_u128(u128)
        visit_f64(f64) visit_str(&str) visit_borrowed_str(&'de str) visit_string(String)
        visit_bytes(&[u8]) visit_borrowed_bytes(&'de [u8]) visit_byte_buf(Vec<u8>)
    }

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(formatter)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        let value = self.with(value);
        self.inner.visit_some(value)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        let value = self.with(value);
        self.inner.visit_newtype_struct(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Self::Value, A::Error> {
        let elements = self.with(elements);
        self.inner.visit_seq(elements)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        let members = self.with(members);
        self.inner.visit_map(members)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<Self::Value, A::Error> {
        let variant = self.with(variant);
        self.inner.visit_enum(variant)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Placed<'de, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        let value = self.with(value);
        self.inner.deserialize(value)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Placed<'de, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        let seed = self.with(seed);
        self.inner.next_element_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Placed<'de, A> {
    type Error = A::Error;

    /// A key is a string and therefore nothing that could stand for an attachment.
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Self::Error> {
        self.inner.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, Self::Error> {
        let seed = self.with(seed);
        self.inner.next_value_seed(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Placed<'de, A> {
    type Error = A::Error;
    type Variant = Placed<'de, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), Self::Error> {
        let attachments = self.attachments;
        let (name, inner) = self.inner.variant_seed(seed)?;
        Ok((name, Placed { inner, attachments }))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Placed<'de, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), Self::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<S::Value, Self::Error> {
        let seed = self.with(seed);
        self.inner.newtype_variant_seed(seed)
    }

    hand_on! {
        tuple_variant(length: usize)
        struct_variant(fields: &'static [&'static str])
    }
}

/// Stands for a visitor that asked for bytes. Strings and arrays of numbers are bytes as they are
/// for serde_json; an object is a placeholder or an error.
struct BytesOf<'de, V> {
    visitor: V,
    attachments: &'de [Bytes],
}

impl<'de, V: Visitor<'de>> Visitor<'de> for BytesOf<'de, V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(formatter)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.visitor.visit_bytes(text.as_bytes())
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        self.visitor.visit_borrowed_bytes(text.as_bytes())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Self::Value, A::Error> {
        self.visitor.visit_seq(elements)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut marked = false;
        let mut number = None;
        while let Some(member) = members.next_key()? {
            match member {
                Member::Marker => marked = members.next_value()?,
                Member::Number => number = Some(members.next_value::<usize>()?),
                Member::Other => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        let number = number.filter(|_| marked).ok_or_else(|| {
            A::Error::custom("an object that is no placeholder stands where bytes are expected")
        })?;
        let bytes = self
            .attachments
            .get(number)
            .ok_or_else(|| A::Error::custom("a placeholder names no attachment of its packet"))?;
        self.visitor.visit_borrowed_bytes(bytes)
    }
}

/// A member of a placeholder.
#[derive(Deserialize)]
enum Member {
    #[serde(rename = "_placeholder")]
    Marker,
    #[serde(rename = "num")]
    Number,
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::collections::BTreeMap;

    use super::super::Arguments;
    use super::*;
    use proptest::prelude::*;
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    fn read<T: DeserializeOwned>(args: &str) -> Result<T, String> {
        from_args(args.as_bytes(), &[]).map_err(|error| error.to_string())
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    enum Part {
        Nothing,
        Blob(Bytes),
        Pair(Bytes, u8),
        Named { blob: Bytes, next: Option<Box<Part>> },
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Newtype(Bytes);

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Upload {
        name: String,
        list: Vec<Bytes>,
        maybe: Option<Bytes>,
        map: BTreeMap<String, Bytes>,
        part: Part,
        newtype: Newtype,
        tuple: (Bytes, bool),
        #[serde(with = "serde_bytes")]
        buffer: Vec<u8>,
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Bytes::from)
    }

    fn part() -> impl Strategy<Value = Part> {
        let leaf = prop_oneof![
            Just(Part::Nothing),
            bytes().prop_map(Part::Blob),
            (bytes(), any::<u8>()).prop_map(|(blob, byte)| Part::Pair(blob, byte)),
        ];
        leaf.prop_recursive(4, 8, 1, |inner| {
            (bytes(), prop::option::of(inner.prop_map(Box::new)))
                .prop_map(|(blob, next)| Part::Named { blob, next })
        })
    }

    fn upload() -> impl Strategy<Value = Upload> {
        let list = prop::collection::vec(bytes(), 0..4);
        let map = prop::collection::btree_map(any::<String>(), bytes(), 0..4);
        let tuple = (bytes(), any::<bool>());
        let fields = (
            any::<String>(),
            list,
            prop::option::of(bytes()),
            map,
            part(),
            bytes(),
            tuple,
            bytes(),
        );
        fields.prop_map(|(name, list, maybe, map, part, newtype, tuple, buffer)| Upload {
            name,
            list,
            maybe,
            map,
            part,
            newtype: Newtype(newtype),
            tuple,
            buffer: buffer.to_vec(),
        })
    }

    /// What a peer reads of what is written, through the scanner.
    fn round_trip<T: Arguments + DeserializeOwned>(value: &T) -> T {
        let (mut out, mut attachments) = (b"[\"e\"".to_vec(), Vec::new());
        value.write(&mut out, &mut attachments).unwrap();
        out.push(b']');
        let count = (!attachments.is_empty()).then_some(attachments.len());
        let event = super::super::scan_event(&out, 128, count).unwrap();
        from_args(event.args, &attachments).unwrap()
    }

    proptest! {
        // behaviours.md 37.4, 37.5, 37.11
        #[test]
        fn reading_written_binary_values_gives_the_values(first in upload(), second in part()) {
            prop_assert_eq!(&round_trip(&first), &first);
            prop_assert_eq!(&round_trip(&second), &second);
            let both = (first, 7, second);
            prop_assert_eq!(&round_trip(&both), &both);
        }

        #[test]
        fn no_arguments_break_the_reader(args: Vec<u8>, attachment: Vec<u8>) {
            let attachments = [Bytes::from(attachment)];
            let _ = from_args::<Upload>(&args, &attachments);
            let _ = from_args::<(Part, Option<Bytes>, Value)>(&args, &attachments);
        }
    }

    #[test]
    fn a_tuple_takes_all_arguments_and_any_other_type_the_first() {
        assert_eq!(read("1,\"a\""), Ok((1, "a".to_string())));
        assert_eq!(read(" 1 , [2,3] , {} "), Ok((1, vec![2, 3], json!({}))));
        assert_eq!(read("1,2,3"), Ok([1, 2, 3]));
        assert_eq!(read("[1,2],3"), Ok(vec![1, 2]));
        assert_eq!(read("\"a\",3"), Ok("a".to_string()));
        assert_eq!(read(" 5 ,6"), Ok(5));
        assert_eq!(read("[1,2]"), Ok(((1, 2),)));
        assert_eq!(read("[1,2]"), Ok(Some((1, 2))));
        #[derive(Debug, PartialEq, Deserialize)]
        struct Point(i32, i32);
        assert_eq!(read("1,-2"), Ok(Point(1, -2)));
    }

    #[test]
    fn arguments_that_lack_are_null_and_those_in_excess_are_ignored() {
        assert_eq!(read(""), Ok(()));
        assert_eq!(read::<Option<u8>>(""), Ok(None));
        assert_eq!(read(""), Ok(Value::Null));
        assert_eq!(read("1"), Ok((1, None::<String>, Value::Null)));
        assert_eq!(read("1,2,3"), Ok((1, 2)));
        assert!(read::<u8>("").is_err());
        assert!(read::<(u8, u8)>("1").is_err());
    }

    // protocol.md §14.3
    #[test]
    fn one_attachment_may_be_named_twice_and_others_not_at_all() {
        let attachments = [Bytes::from_static(b"a"), Bytes::from_static(b"")];
        let placed = |num| format!("{{\"x\":[1],\"num\":{num},\"_placeholder\":true}}");
        let args = format!("{},{},{}", placed(1), placed(0), placed(0));
        let (first, second, third): (Bytes, Bytes, &[u8]) =
            from_args(args.as_bytes(), &attachments).unwrap();
        assert_eq!((&first[..], &second[..], third), (&b""[..], &b"a"[..], &b"a"[..]));
        assert!(std::ptr::eq(third, &attachments[0][..]), "what is borrowed is not copied");
    }

    #[test]
    fn what_is_no_placeholder_gives_no_attachment() {
        let attachments = [Bytes::from_static(b"a")];
        for args in [
            "{}",
            "1",
            "null",
            "true",
            "{\"num\":0}",
            "{\"_placeholder\":true}",
            "{\"_placeholder\":false,\"num\":0}",
            "{\"_placeholder\":true,\"num\":1}",
            "{\"_placeholder\":true,\"num\":-1}",
            "{\"_placeholder\":true,\"num\":\"0\"}",
        ] {
            assert!(from_args::<Bytes>(args.as_bytes(), &attachments).is_err(), "{args}");
        }
        let text: Bytes = from_args(b"\"text\"", &attachments).unwrap();
        let numbers: Bytes = from_args(b"[1,2]", &attachments).unwrap();
        assert_eq!((&text[..], &numbers[..]), (&b"text"[..], &[1, 2][..]));
        let null: Option<Bytes> = from_args(b"null", &attachments).unwrap();
        assert_eq!(null, None);
    }

    #[test]
    fn a_type_that_takes_anything_sees_the_placeholder_itself() {
        let attachments = [Bytes::from_static(b"a")];
        let args = b"{\"_placeholder\":true,\"num\":0}";
        let value: Value = from_args(args, &attachments).unwrap();
        assert_eq!(value, json!({"_placeholder": true, "num": 0}));
        let raw: &RawValue = from_args(args, &attachments).unwrap();
        assert_eq!(raw.get().as_bytes(), args);
        let nested: (Vec<Box<RawValue>>,) = from_args(b"[1.0, {}]", &attachments).unwrap();
        assert_eq!(nested.0[0].get(), "1.0");
    }

    #[test]
    fn strings_are_borrowed_where_they_have_no_escapes() {
        let (plain, escaped): (&str, Cow<str>) = from_args(b"\"a\",\"\\u0062\"", &[]).unwrap();
        assert_eq!((plain, &*escaped), ("a", "b"));
        assert!(from_args::<&str>(b"\"\\u0062\"", &[]).is_err());
    }

    #[test]
    fn an_error_says_that_the_peer_sent_something_else() {
        let error = read::<u8>("\"a\"").unwrap_err();
        assert!(error.starts_with("the peer's arguments are not what was asked for: "), "{error}");
    }

    // security.md §4 row 36
    #[test]
    fn what_has_no_counterpart_in_rust_is_an_error_of_the_type_only() {
        assert!(read::<String>("\"\\ud800\"").is_err());
        assert!(read::<f64>("1e400").is_err());
        let raw: &RawValue = from_args(b"\"\\ud800\"", &[]).unwrap();
        assert_eq!(raw.get(), "\"\\ud800\"");
    }

    #[test]
    fn the_deepest_arguments_that_a_packet_may_have_are_read() {
        let text = ["[".repeat(127), "]".repeat(127)].concat();
        assert!(read::<Value>(&text).is_ok());
        assert!(read::<(Value,)>(&text).is_ok());
    }
}
