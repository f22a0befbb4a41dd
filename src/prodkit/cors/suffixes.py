"""Suffixes below which everybody may have a name, so that the name before them says who it is.

No copy of the Public Suffix List, which changes weekly and has ten thousand entries: a rule for countries, and the places that
applications and their previews are served from.

Source: Public Suffix List (publicsuffix.org), ICANN and private section.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SHARED", "is_second_level", "is_shared"]

# Under two letters of a country: the registered name is one label further on, as in example.co.uk.
_SECOND_LEVELS: Final = frozenset(
    [
        "ac",
        "asn",
        "asso",
        "biz",
        "co",
        "com",
        "conf",
        "coop",
        "edu",
        "firm",
        "gen",
        "go",
        "gob",
        "gouv",
        "gov",
        "govt",
        "gv",
        "id",
        "ind",
        "info",
        "its",
        "mil",
        "museum",
        "name",
        "ne",
        "net",
        "nom",
        "off",
        "or",
        "org",
        "plc",
        "press",
        "priv",
        "radio",
        "sch",
        "school",
        "tourism",
        "web",
    ]
)
_SHORT: Final = 3
# Of these countries nearly every name is registered straight below the top, short ones included, as in .com.
_FLAT: Final = frozenset(
    [
        "ai",
        "be",
        "cc",
        "ch",
        "co",
        "de",
        "dk",
        "eu",
        "fm",
        "gg",
        "io",
        "li",
        "lu",
        "ly",
        "me",
        "nl",
        "sh",
        "so",
        "to",
        "tv",
        "ws",
    ]
)

# Names stand right below these.
_DIRECTLY: Final = [
    "amplifyapp.com",
    "app.github.dev",
    "azureedge.net",
    "azurefd.net",
    "bitbucket.io",
    "blogspot.com",
    "bolt.host",
    "bubbleapps.io",
    "cloudapp.net",
    "cloudfront.net",
    "cloudfunctions.net",
    "codeberg.page",
    "csb.app",
    "ddns.net",
    "deno.dev",
    "duckdns.org",
    "firebaseapp.com",
    "fly.dev",
    "framer.app",
    "framer.website",
    "github.dev",
    "github.io",
    "gitlab.io",
    "glitch.me",
    "herokuapp.com",
    "hf.space",
    "hopto.org",
    "koyeb.app",
    "lhr.life",
    "loca.lt",
    "lovable.app",
    "myshopify.com",
    "netlify.app",
    "netlify.com",
    "ngrok-free.app",
    "ngrok-free.dev",
    "ngrok.app",
    "ngrok.dev",
    "now.sh",
    "ondigitalocean.app",
    "onrender.com",
    "pages.dev",
    "r2.dev",
    "readthedocs.io",
    "repl.co",
    "replit.app",
    "sourceforge.io",
    "stackblitz.io",
    "storage.googleapis.com",
    "streamlit.app",
    "supabase.co",
    "surge.sh",
    "trafficmanager.net",
    "translate.goog",
    "trycloudflare.com",
    "up.railway.app",
    "vercel.app",
    "vercel.dev",
    "web.app",
    "webflow.io",
    "weebly.com",
    "wixsite.com",
    "wordpress.com",
    "workers.dev",
]
# Names stand below regions, services and the like, however deep.
_DEEPER: Final = (
    "amazonaws.com",
    "appspot.com",
    "awsapprunner.com",
    "azurecontainer.io",
    "azurecontainerapps.io",
    "azurestaticapps.net",
    "azurewebsites.net",
    "backblazeb2.com",
    "cloudapp.azure.com",
    "core.windows.net",
    "devtunnels.ms",
    "digitaloceanspaces.com",
    "elasticbeanstalk.com",
    "gitpod.io",
    "linodeobjects.com",
    "ngrok.io",
    "nip.io",
    "on.aws",
    "replit.dev",
    "run.app",
    "scw.cloud",
    "sslip.io",
    "webcontainer.io",
)
SHARED: Final = frozenset(
    (
        *_DIRECTLY,
        *_DEEPER,
        "a.run.app",
        "s3.amazonaws.com",
        "s3.eu-west-1.amazonaws.com",
        "lambda-url.eu-west-1.on.aws",
    )
)
"""Some of each kind, for patterns that leave the region open."""

_BELOW_DEEPER: Final = tuple(f".{suffix}" for suffix in _DEEPER)


def is_second_level(top: str, second: str) -> bool:
    """Whether *second* under the country *top* is a level of its registry, so that registered names have a third label.

    A registry's words are short, and few companies have so short a name: one too many is refused with what to write in its place.
    """
    if len(top) != 2:
        return False
    return second in _SECOND_LEVELS or (len(second) <= _SHORT and second.isalpha() and top not in _FLAT)


def is_shared(suffix: str) -> bool:
    """Whether the names right below *suffix* belong to whoever came first."""
    return suffix in SHARED or suffix.endswith(_BELOW_DEEPER)
