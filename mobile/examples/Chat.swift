// A conversation on the terminal: Chat [MODEL], or the model that is compiled in.
import Deputy

final class Printer: TextListener {
    func onText(text: String) throws -> Bool {
        print(text, terminator: "")
        return true  // false would stop the answer.
    }
}

@main
struct Chat {
    static func main() async throws {
        let engine = try await Engine.load(model: CommandLine.arguments.dropFirst().first)
        print(engine.info().model, "on", engine.info().device)
        let conversation = try engine.conversation()
        while true {
            print("\n> ", terminator: "")
            guard let line = readLine() else { break }
            let answer = try await conversation.answer(text: line, listener: Printer())
            print("\n(\(answer.nTokens) tokens, \(Int(answer.decodeTps.rounded())) a second)", terminator: "")
        }
    }
}
