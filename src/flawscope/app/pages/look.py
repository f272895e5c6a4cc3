"""How a panel wants its pages: kept in that panel's own cookies."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from flawscope.app.pages.page import COOKIES, path_within
from flawscope.app.wording import LANGUAGES, THEMES

router = APIRouter(include_in_schema=False)
_YEAR_S = 365 * 24 * 3600


@router.post("/look")
async def look(request: Request) -> Response:
    """Keep language, theme and shortcuts for this panel, and go back to the page it came from."""
    form = await request.form(max_files=0, max_fields=8)
    answer = RedirectResponse(path_within(str(form.get("back", ""))), status_code=303)
    chosen = {"keys": "on" if form.get("keys") == "on" else "off"}
    for name, known in (("language", LANGUAGES), ("theme", THEMES)):
        if str(form.get(name, "")) in known:
            chosen[name] = str(form[name])
    for name, value in chosen.items():
        answer.set_cookie(COOKIES[name], value, max_age=_YEAR_S, httponly=True, samesite="strict")
    return answer
