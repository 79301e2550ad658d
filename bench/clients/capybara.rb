# A script for Capybara.
require "net/http"
require "capybara"
require "selenium-webdriver"

Capybara.register_driver(:remote) do |app|
  options = Selenium::WebDriver::Chrome::Options.new(args: %w[--headless=new --no-sandbox --disable-gpu])
  Capybara::Selenium::Driver.new(app, browser: :remote, url: ENV["REMOTE"], capabilities: options)
end
Capybara.run_server = false
session = Capybara::Session.new(:remote)
begin
  session.visit(ENV["PAGE"])
  raise session.title unless session.has_title?("Desk")
  session.fill_in("name", with: "typed")
  Net::HTTP.get(URI(ENV["KILL"]))
  raise "lost" unless session.find_field("name").value == "typed"
  session.click_button("go")
  raise session.title unless session.has_title?("Clicked")
ensure
  session.quit
end
