//! Which printer a Fluidd of `web_root` opens. It keeps a list of printers per origin and opens the one of the last visit;
//! all printers below the gateway's port are one origin, so that the page of one would command another (Fluidd 1.36 and
//! 1.37, `src/init.ts`, `store/config/mutations.ts`).

use data_encoding::HEXLOWER;
use md5::{Digest, Md5};
use serde_json::json;

/// Runs before Fluidd does. `?printer=` is its own word for one of the list, by the MD5 of its address; it goes before the
/// printer of the last visit, also where two pages are loaded at once. `first` fills an empty list only: at a printer's own
/// port the list is of that port, and whom it opens is the user's choice.
const OPENS: &str = r#"<script>((own, hash, first) => {
  let list = [];
  try { list = JSON.parse(localStorage.getItem("appInstances")) } catch { }
  if (!Array.isArray(list)) list = [];
  if (first && list.length) return;
  if (!list.some(known => known && known.apiUrl === own.apiUrl)) list.push(own);
  localStorage.setItem("appInstances", JSON.stringify(list));
  const here = new URL(location.href);
  here.searchParams.set("printer", hash);
  history.replaceState(history.state, "", here);
})"#;

/// Fluidd's page with the printer that is at `endpoint`; every other page as it is.
pub fn at_home(page: String, endpoint: &str, name: &str, below_a_prefix: bool) -> String {
    let Some((before, after)) = page.split_once("<head>") else { return page };
    if !after.contains("<title>fluidd") {
        return page;
    }
    let socket = endpoint.replacen("http", "ws", 1) + "/websocket";
    let own = json!({"apiUrl": endpoint, "socketUrl": socket, "active": true, "name": name}).to_string();
    let hash = HEXLOWER.encode(&Md5::digest(endpoint.as_bytes()));
    // Text in a script ends at the first "</script".
    let own = own.replace('<', "\\u003c");
    format!("{before}<head>{OPENS}({own}, \"{hash}\", {});</script>{after}", !below_a_prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<html><head><title>fluidd</title></head></html>";

    #[test]
    fn the_page_names_its_printer_before_anything_else_runs() {
        let page = at_home(PAGE.into(), "https://h/printers/one", "One </script> \"1\"", true);
        assert!(page.starts_with("<html><head><script>"), "{page}");
        assert_eq!(page.matches("</script").count(), 1, "{page}");
        for part in [
            r#""apiUrl":"https://h/printers/one""#,
            r#""socketUrl":"wss://h/printers/one/websocket""#,
            r#""name":"One \u003c/script> \"1\"""#,
            // md5sum of the address.
            "\"83c6d29f79e321ac1d136ed1eb0770e4\", false",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
    }

    #[test]
    fn other_pages_are_served_as_they_are() {
        for page in ["<html>ui</html>", "<html><head><title>Mainsail</title></head></html>"] {
            assert_eq!(at_home(page.to_owned(), "http://h", "one", true), page);
        }
    }
}
