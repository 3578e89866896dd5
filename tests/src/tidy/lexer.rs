//! Just enough of Rust's lexical grammar to tell code from comments and literals.
//!
//! Not a parser: it knows line and nested block comments, strings (raw, byte, C, with escapes),
//! and characters as against lifetimes. That is what counting braces and looking for words needs.

/// A source file taken apart. Line numbers begin with 1.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lexed {
    /// The text with comments and the insides of literals blanked, line by line as before.
    pub code: String,
    /// Comments with the line they begin on, without their slashes.
    pub comments: Vec<(usize, String)>,
    /// String literals with the line they begin on, escapes as written.
    pub strings: Vec<(usize, String)>,
}

/// Takes a source file apart.
pub fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, line: 1, out: Lexed::default() };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.out
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    out: Lexed,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.line_comment(),
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('r', '"' | '#') if self.raw_hashes().is_some() && !self.is_in_word() => {
                self.raw_string()
            }
            ('\'', '\\') => self.character(),
            ('\'', _) if self.peek(2) == '\'' => self.character(),
            _ => self.keep(),
        }
    }

    /// Whether the last character belongs to a word that goes on here; `br` and `cr` are prefixes.
    fn is_in_word(&self) -> bool {
        let before = &self.chars[..self.at];
        let word = before.iter().rev().take_while(|c| c.is_alphanumeric() || **c == '_');
        let word: String = word.collect();
        !matches!(word.as_str(), "" | "b" | "c")
    }

    /// Hashes between `r` and the quote of a raw string; `None` for a raw identifier.
    fn raw_hashes(&self) -> Option<usize> {
        let hashes = (1..).take_while(|ahead| self.peek(*ahead) == '#').count();
        (self.peek(1 + hashes) == '"').then_some(hashes)
    }

    fn keep(&mut self) {
        let c = self.peek(0);
        self.out.code.push(c);
        self.line += usize::from(c == '\n');
        self.at += 1;
    }

    /// Takes one character out of the code and returns it.
    fn blank(&mut self) -> char {
        let c = self.peek(0);
        self.out.code.push(if c == '\n' { '\n' } else { ' ' });
        self.line += usize::from(c == '\n');
        self.at += 1;
        c
    }

    fn line_comment(&mut self) {
        let (line, mut text) = (self.line, String::new());
        while self.at < self.chars.len() && self.peek(0) != '\n' {
            text.push(self.blank());
        }
        self.out.comments.push((line, text.trim_start_matches('/').to_owned()));
    }

    fn block_comment(&mut self) {
        let (line, mut text, mut depth) = (self.line, String::new(), 0);
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    text.push(self.blank());
                    continue;
                }
            }
            self.blank();
            self.blank();
            if depth == 0 {
                break;
            }
        }
        self.out.comments.push((line, text));
    }

    fn string(&mut self) {
        let (line, mut text) = (self.line, String::new());
        self.keep();
        while self.at < self.chars.len() && self.peek(0) != '"' {
            if self.peek(0) == '\\' {
                text.push(self.blank());
            }
            text.push(self.blank());
        }
        self.keep();
        self.out.strings.push((line, text));
    }

    fn raw_string(&mut self) {
        let (line, hashes, mut text) = (self.line, self.raw_hashes().unwrap_or(0), String::new());
        for _ in 0..hashes + 2 {
            self.keep();
        }
        let is_end = |lexer: &Lexer| {
            lexer.peek(0) == '"' && (1..=hashes).all(|ahead| lexer.peek(ahead) == '#')
        };
        while self.at < self.chars.len() && !is_end(self) {
            text.push(self.blank());
        }
        for _ in 0..=hashes {
            self.keep();
        }
        self.out.strings.push((line, text));
    }

    fn character(&mut self) {
        self.keep();
        if self.peek(0) == '\\' {
            self.blank();
        }
        self.blank();
        while self.at < self.chars.len() && self.peek(0) != '\'' {
            self.blank();
        }
        self.keep();
    }
}

/// Functions with a body: name, line of the `fn`, lines from there to the closing brace.
pub fn functions(lexed: &Lexed) -> Vec<(String, usize, usize)> {
    let code = lexed.code.as_bytes();
    let mut found = Vec::new();
    for (at, _) in lexed.code.match_indices("fn ") {
        let is_word = at == 0 || !is_name(code[at - 1]);
        let rest = &lexed.code[at + 3..];
        let name: String = rest.trim_start().chars().take_while(|c| is_name_char(*c)).collect();
        if !is_word || name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&code[at..]) {
            let line = 1 + count_lines(&code[..at]);
            found.push((name, line, 1 + count_lines(&code[at..at + end])));
        }
    }
    found
}

/// Where the body ends that begins with the first brace outside parentheses and brackets.
fn body_end(code: &[u8]) -> Option<usize> {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (at, byte) in code.iter().enumerate() {
        match byte {
            b'(' | b'[' if braces == 0 => others += 1,
            b')' | b']' if braces == 0 => others = others.saturating_sub(1),
            b';' if braces == 0 && others == 0 => return None,
            b'{' => braces += usize::from(others == 0),
            b'}' if braces > 0 => {
                braces -= 1;
                if braces == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn count_lines(code: &[u8]) -> usize {
    code.iter().filter(|byte| **byte == b'\n').count()
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let lexed = lex(
            "a // x {\n/* { /* } */ */ b\n\"\\\"{\" r#\"\"{\"# br\"{\" '{' '\\'' '\\u{7b}' 'a: c",
        );
        assert_eq!(
            lexed.code,
            "a       \n                b\n\"   \" r#\"  \"# br\" \" ' ' '  ' '      ' 'a: c"
        );
        assert_eq!(lexed.comments, [(1, " x {".to_owned()), (2, " {  }  ".to_owned())]);
        let strings: Vec<_> = lexed.strings.iter().map(|(line, text)| (*line, &text[..])).collect();
        assert_eq!(strings, [(3, "\\\"{"), (3, "\"{"), (3, "{")]);
    }

    #[test]
    fn a_raw_identifier_and_a_name_that_ends_with_r_are_no_strings() {
        assert_eq!(lex("r#fn for\"x\"").code, "r#fn for\" \"");
    }

    #[test]
    fn functions_are_measured_to_their_closing_brace() {
        let text = "fn a(x: [u8; { 1 }]) {\n  let s = \"}\";\n  if x { 1 }\n}\n\
                    trait T { fn b(); }\nlet c: fn (u8);\npub fn d()\nwhere\n  X: Y,\n{\n}\n";
        let found = functions(&lex(text));
        assert_eq!(found, [("a".to_owned(), 1, 4), ("d".to_owned(), 7, 5)]);
    }
}
