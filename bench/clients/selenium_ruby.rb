# A script for Ruby's selenium-webdriver.
require "net/http"
require "selenium-webdriver"

options = Selenium::WebDriver::Chrome::Options.new(args: %w[--headless=new --no-sandbox --disable-gpu])
driver = Selenium::WebDriver.for(:remote, url: ENV["REMOTE"], capabilities: options)
begin
  driver.navigate.to(ENV["PAGE"])
  raise driver.title unless driver.title == "Desk"
  driver.find_element(id: "name").send_keys("typed")
  Net::HTTP.get(URI(ENV["KILL"]))
  raise "lost" unless driver.find_element(id: "name").attribute("value") == "typed"
  driver.find_element(css: "button").click
  raise driver.title unless driver.title == "Clicked"
ensure
  driver.quit
end
