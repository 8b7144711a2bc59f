//! Types into arguments: serde_json's serializer, with numbers as JavaScript prints them and with
//! binary values set aside as attachments.

use std::fmt;
use std::io::{self, Write};

use bytes::Bytes;
use serde::Serialize;
use serde::ser::{Impossible, SerializeTuple, SerializeTupleStruct, Serializer};
use serde_json::ser::Formatter;

use super::{ArgsError, Raw};

/// What can be sent as the arguments of an event or an acknowledgement.
///
/// Every type that serde can serialize is: a tuple or tuple struct, fixed-size arrays among them,
/// spreads into one argument for each element; `()` is no argument; anything else, a vector or a
/// slice for example, is one. So is [`Raw`], which passes on what came in.
pub trait Arguments {
    /// Appends each argument with a comma before it, `,"a",1`, and puts binary values, those that
    /// are serialized as bytes, behind `attachments`. In their places stand placeholders, which
    /// count from the length that `attachments` had (`protocol.md` §14.3).
    ///
    /// # Errors
    /// The value has no form in JSON: a map whose keys are no strings, or its `Serialize` refuses.
    /// `out` and `attachments` are then as they were before.
    fn write(&self, out: &mut Vec<u8>, attachments: &mut Vec<Bytes>) -> Result<(), ArgsError>;
}

impl<T: Serialize + ?Sized> Arguments for T {
    fn write(&self, out: &mut Vec<u8>, attachments: &mut Vec<Bytes>) -> Result<(), ArgsError> {
        let (length, count) = (out.len(), attachments.len());
        let written = match self.serialize(Spread { out, attachments }) {
            Err(Refusal::NotList) => write_one(self, out, attachments),
            Err(Refusal::Json(error)) => Err(error),
            Ok(()) => Ok(()),
        };
        written.map_err(|error| {
            out.truncate(length);
            attachments.truncate(count);
            ArgsError::Unserializable(error)
        })
    }
}

impl Arguments for Raw {
    fn write(&self, out: &mut Vec<u8>, attachments: &mut Vec<Bytes>) -> Result<(), ArgsError> {
        if !attachments.is_empty() && !self.attachments().is_empty() {
            return Err(ArgsError::RawBehindBinary);
        }
        if !self.args().is_empty() {
            out.push(b',');
            out.extend_from_slice(self.args());
        }
        attachments.extend_from_slice(self.attachments());
        Ok(())
    }
}

impl Arguments for &Raw {
    fn write(&self, out: &mut Vec<u8>, attachments: &mut Vec<Bytes>) -> Result<(), ArgsError> {
        (**self).write(out, attachments)
    }
}

fn write_one<T: Serialize + ?Sized>(
    value: &T,
    out: &mut Vec<u8>,
    attachments: &mut Vec<Bytes>,
) -> Result<(), serde_json::Error> {
    out.push(b',');
    value.serialize(&mut serde_json::Serializer::with_formatter(out, JavaScript { attachments }))
}

/// Compact JSON as JavaScript would have written it, with bytes set aside.
struct JavaScript<'a> {
    attachments: &'a mut Vec<Bytes>,
}

impl Formatter for JavaScript<'_> {
    fn write_byte_array<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        value: &[u8],
    ) -> io::Result<()> {
        write!(writer, "{{\"_placeholder\":true,\"num\":{}}}", self.attachments.len())?;
        self.attachments.push(Bytes::copy_from_slice(value));
        Ok(())
    }

    fn write_f32<W: ?Sized + Write>(&mut self, writer: &mut W, value: f32) -> io::Result<()> {
        write_float(writer, value, f64::from(value))
    }

    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        write_float(writer, value, value)
    }
}

/// Appends a number as JavaScript prints it, and `null` if it is not finite.
pub(in crate::proto) fn write_number(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        return out.extend_from_slice(b"null");
    }
    let written = write_float(out, value, value);
    debug_assert!(written.is_ok(), "a vector takes every byte");
}

/// Writes a finite number with the fewest digits that name it, laid out as ECMA-262's
/// Number::toString does. `value` brings the digits, its `size` chooses the layout.
fn write_float<W, F>(writer: &mut W, value: F, size: f64) -> io::Result<()>
where
    W: ?Sized + Write,
    F: fmt::Display + fmt::LowerExp,
{
    match size.abs() {
        // The sign of a negative zero is not printed.
        0.0 => writer.write_all(b"0"),
        1e-6..1e21 => write!(writer, "{value}"),
        1e21.. => writer.write_all(format!("{value:e}").replace('e', "e+").as_bytes()),
        _ => write!(writer, "{value:e}"),
    }
}

/// Answers whether a value is a list of arguments and, if it is, writes them. It looks at no more
/// than the outermost shape of other values.
struct Spread<'a> {
    out: &'a mut Vec<u8>,
    attachments: &'a mut Vec<Bytes>,
}

/// Why [`Spread`] did not write.
#[derive(Debug)]
enum Refusal {
    /// The value is one argument.
    NotList,
    Json(serde_json::Error),
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotList => formatter.write_str("the value is one argument"),
            Refusal::Json(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for Refusal {}

impl serde::ser::Error for Refusal {
    fn custom<T: fmt::Display>(message: T) -> Refusal {
        Refusal::Json(serde::ser::Error::custom(message))
    }
}

impl SerializeTuple for Spread<'_> {
    type Ok = ();
    type Error = Refusal;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        write_one(value, self.out, self.attachments).map_err(Refusal::Json)
    }

    fn end(self) -> Result<(), Refusal> {
        Ok(())
    }
}

impl SerializeTupleStruct for Spread<'_> {
    type Ok = ();
    type Error = Refusal;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        self.serialize_element(value)
    }

    fn end(self) -> Result<(), Refusal> {
        Ok(())
    }
}

macro_rules! one_argument {
    ($($method:ident($($type:ty),*) -> $ok:ty;)*) => {$(
        fn $method(self, $(_: $type),*) -> Result<$ok, Refusal> {
            Err(Refusal::NotList)
        }
    )*};
}

impl<'a> Serializer for Spread<'a> {
    type Ok = ();
    type Error = Refusal;
    type SerializeTuple = Spread<'a>;
    type SerializeTupleStruct = Spread<'a>;
    type SerializeSeq = Impossible<(), Refusal>;
    type SerializeTupleVariant = Impossible<(), Refusal>;
    type SerializeMap = Impossible<(), Refusal>;
    type SerializeStruct = Impossible<(), Refusal>;
    type SerializeStructVariant = Impossible<(), Refusal>;

    fn serialize_tuple(self, _: usize) -> Result<Spread<'a>, Refusal> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Spread<'a>, Refusal> {
        Ok(self)
    }

    fn serialize_unit(self) -> Result<(), Refusal> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Refusal> {
        Err(Refusal::NotList)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<(), Refusal> {
        Err(Refusal::NotList)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Refusal> {
        Err(Refusal::NotList)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), Refusal> {
        Err(Refusal::NotList)
    }

    one_argument! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_i128(i128) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_u128(u128) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeStructVariant;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn write(value: &(impl Arguments + ?Sized)) -> (String, Vec<Bytes>) {
        let (mut out, mut attachments) = (Vec::new(), Vec::new());
        value.write(&mut out, &mut attachments).unwrap();
        (String::from_utf8(out).unwrap(), attachments)
    }

    fn text(value: &(impl Arguments + ?Sized)) -> String {
        write(value).0
    }

    #[derive(Serialize)]
    struct Unit;
    #[derive(Serialize)]
    struct Newtype((u8, u8));
    #[derive(Serialize)]
    struct Point(u8, u8);
    #[derive(Serialize)]
    struct Named {
        x: u8,
    }
    #[derive(Serialize)]
    enum Choice {
        None,
        One(u8),
        Two(u8, u8),
        Named { x: u8 },
    }

    #[test]
    fn a_tuple_is_several_arguments_and_anything_else_is_one() {
        assert_eq!(text(&()), "");
        assert_eq!(text(&("a", 1, [2])), ",\"a\",1,[2]");
        assert_eq!(text(&Point(1, 2)), ",1,2");
        assert_eq!(text(&[1, 2]), ",1,2");
        assert_eq!(text(&((1, 2),)), ",[1,2]");
        assert_eq!(text(&((), Unit)), ",null,null");
        assert_eq!(text(&Newtype((1, 2))), ",[1,2]");
        assert_eq!(text(&Some((1, 2))), ",[1,2]");
        assert_eq!(text(&[1, 2][..]), ",[1,2]");
        assert_eq!(text(&vec!["a"]), ",[\"a\"]");
        assert_eq!(text("a"), ",\"a\"");
        assert_eq!(text(&&"a"), ",\"a\"");
        assert_eq!(text(&Unit), ",null");
        assert_eq!(text(&None::<u8>), ",null");
        assert_eq!(text(&'a'), ",\"a\"");
        assert_eq!(text(&u128::MAX), format!(",{}", u128::MAX));
        assert_eq!(text(&Named { x: 1 }), ",{\"x\":1}");
        assert_eq!(text(&Choice::None), ",\"None\"");
        assert_eq!(text(&Choice::One(1)), ",{\"One\":1}");
        assert_eq!(text(&Choice::Two(1, 2)), ",{\"Two\":[1,2]}");
        assert_eq!(text(&Choice::Named { x: 1 }), ",{\"Named\":{\"x\":1}}");
        assert_eq!(text(&json!([1, {"b": true, "a": null}])), ",[1,{\"a\":null,\"b\":true}]");
        assert_eq!(text(&format_args!("{}", 1)), ",\"1\"");
        assert_eq!(text(&BTreeMap::from([(1, 2)])), ",{\"1\":2}");
    }

    // behaviours.md 37.1 to 37.5 and 37.10 to 37.12
    #[test]
    fn binary_values_are_numbered_in_the_order_in_which_they_stand() {
        let blob = |byte| Bytes::from(vec![byte]);
        let value =
            (blob(1), BTreeMap::from([("b", vec![blob(2)]), ("c", vec![blob(3)])]), blob(4));
        let place = |num| format!("{{\"_placeholder\":true,\"num\":{num}}}");
        let (written, attachments) = write(&value);
        let [zero, one, two, three] = [0, 1, 2, 3].map(place);
        assert_eq!(written, format!(",{zero},{{\"b\":[{one}],\"c\":[{two}]}},{three}"));
        assert_eq!(attachments, [1, 2, 3, 4].map(blob));

        let mut attachments = vec![blob(9)];
        let mut out = Vec::new();
        serde_bytes::Bytes::new(b"x").write(&mut out, &mut attachments).unwrap();
        assert_eq!(out, format!(",{one}").as_bytes());
        assert_eq!(attachments, [9, b'x'].map(blob));
    }

    // behaviours.md 36.10
    #[test]
    fn a_value_without_a_form_in_json_leaves_nothing_behind() {
        let bad = HashMap::from([(vec![1], 1)]);
        let (mut out, mut attachments) = (b"kept".to_vec(), vec![Bytes::from_static(b"kept")]);
        for refused in [
            bad.write(&mut out, &mut attachments),
            ("a", Bytes::from_static(b"b"), &bad).write(&mut out, &mut attachments),
        ] {
            assert!(matches!(refused, Err(ArgsError::Unserializable(_))));
        }
        assert_eq!((&out[..], attachments.len()), (&b"kept"[..], 1));
    }

    #[test]
    fn numbers_are_printed_as_javascript_prints_them() {
        for (value, meant) in [
            (1.0, "1"),
            (-0.0, "0"),
            (0.1, "0.1"),
            (100.25, "100.25"),
            (-1.5e-9, "-1.5e-9"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (9007199254740992.0, "9007199254740992"),
            (123456789012345680000.0, "123456789012345680000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "null"),
            (f64::NEG_INFINITY, "null"),
        ] {
            assert_eq!(text(&value), format!(",{meant}"));
        }
        assert_eq!(text(&(0.1_f32, 1.0_f32, f32::MAX)), ",0.1,1,3.4028235e+38");
        assert_eq!(text(&(u64::MAX, i64::MIN)), ",18446744073709551615,-9223372036854775808");
    }

    proptest! {
        #[test]
        fn a_printed_number_reads_as_the_number(value in any::<f64>()) {
            let printed = text(&value);
            match value.is_finite() {
                true => prop_assert_eq!(printed[1..].parse::<f64>().unwrap(), value),
                false => prop_assert_eq!(printed, ",null"),
            }
        }

        #[test]
        fn a_printed_small_number_reads_as_the_number(value in any::<f32>()) {
            let printed = text(&value);
            prop_assume!(value.is_finite());
            prop_assert_eq!(printed[1..].parse::<f32>().unwrap(), value);
        }
    }

    #[test]
    fn a_value_that_serializes_to_a_value_is_looked_through() {
        assert_eq!(text(&Box::new((1, 2))), ",1,2");
        assert_eq!(text(&Value::from(vec![1, 2])), ",[1,2]");
    }
}
