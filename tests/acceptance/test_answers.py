"""The dashboard's answers to an operator's questions, each in one click of a real browser."""

from __future__ import annotations

from selenium.webdriver.common.by import By

from tests.acceptance.clients import attached
from tests.acceptance.service import Service, expect
from tests.machine import wait_until


def test_each_question_is_answered_in_one_click(service: Service) -> None:
    expect(service.put("/keys/account-17/state", json={"cookies": [], "origins": []}))
    service.create(session_id="worker", lease={"ttl": 600, "holder": "nightly"})
    service.create(session_id="viewer")
    with attached(service, "viewer") as page:
        page.get(f"{service.url}/")
        wait_until(lambda: len(page.find_elements(By.CSS_SELECTOR, "#session-cards li")) == 2, "cards", 30)

        def answer(selector: str) -> str:
            button = page.find_element(By.CSS_SELECTOR, selector)
            page.execute_script("arguments[0].click()", button)
            dialog = page.find_element(By.ID, "answer-dialog")
            wait_until(dialog.is_displayed, f"an answer to {selector}", 20)
            text = dialog.text
            page.execute_script("arguments[0].close()", dialog)
            return text

        places = answer("#ask-places")
        assert "places are free" in places
        assert "nightly" in places
        assert "worker" in answer("#ask-memory")
        kept = answer("#ask-keys")
        assert "account-17" in kept
        assert "cookies and storage" in kept
        assert "created" in answer("button[aria-label='History of worker']")
    expect(service.delete("/keys/account-17"))
