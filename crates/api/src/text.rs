//! Texts that users choose, as the published document describes them. On the wire each is a string, with the rules of
//! `keyreeve_core::text`: no control characters, and no characters that change the direction of writing.

use utoipa::ToSchema;

/// A name: one line that neither begins nor ends with white space.
#[derive(Debug, ToSchema)]
#[schema(
    value_type = String,
    min_length = 1,
    max_length = 255,
    pattern = r"^[^\s\x00-\x1F\x7F-\x9F\u202A-\u202E\u2066-\u2069]([^\x00-\x1F\x7F-\x9F\u202A-\u202E\u2066-\u2069]*[^\s\x00-\x1F\x7F-\x9F\u202A-\u202E\u2066-\u2069])?$",
    example = "CI of the billing service"
)]
pub struct NameText(pub String);

/// One line that is not empty, such as a subject.
#[derive(Debug, ToSchema)]
#[schema(
    value_type = String,
    min_length = 1,
    max_length = 255,
    pattern = r"^[^\x00-\x1F\x7F-\x9F\u202A-\u202E\u2066-\u2069]+$",
    example = "user_2f4KmXyZ"
)]
pub struct LineText(pub String);

/// A description, which may have several lines.
#[derive(Debug, ToSchema)]
#[schema(
    value_type = String,
    max_length = 255,
    pattern = r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F\u202A-\u202E\u2066-\u2069]*$"
)]
pub struct RemarkText(pub String);

/// A reason in words, which may have several lines.
#[derive(Debug, ToSchema)]
#[schema(
    value_type = String,
    max_length = 2000,
    pattern = r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F\u202A-\u202E\u2066-\u2069]*$"
)]
pub struct ReasonText(pub String);
