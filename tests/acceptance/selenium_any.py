"""A script for Selenium of any version from 3.141 on, as its users write them; it is run on its own.

The environment has the address of the remote end (REMOTE), of the page (PAGE), and one that kills the
ChromeDriver when it is opened (KILL).
"""

import os
import sys
import urllib.request

import selenium
from selenium import webdriver

options = webdriver.ChromeOptions()
for switch in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--log-level=3"):
    options.add_argument(switch)
options.add_experimental_option("excludeSwitches", ["enable-logging"])
driver = webdriver.Remote(command_executor=os.environ["REMOTE"], options=options)
try:
    driver.implicitly_wait(2)
    driver.get(os.environ["PAGE"])
    assert driver.title == "Desk", driver.title
    driver.find_element("css selector", "#name").send_keys("typed")
    driver.add_cookie({"name": "kept", "value": "yes"})
    urllib.request.urlopen(os.environ["KILL"]).close()  # noqa: S310 - the address is that of the test
    assert driver.find_element("css selector", "#name").get_attribute("value") == "typed"
    cookie = driver.get_cookie("kept")
    assert cookie is not None
    assert cookie["value"] == "yes"
    driver.find_element("css selector", "button").click()
    assert driver.title == "Clicked", driver.title
    assert driver.execute_script("return 6 * 7") == 42
finally:
    driver.quit()
sys.stdout.write(f"version {selenium.__version__}\n")
